"""`itrec doctor`: checks what this machine lacks, and says how to fix it."""

import dataclasses
import json
import sys
from typing import Any

from itrec_dist.config import Parser


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "itrec doctor",
        "Check versions, devices, Ray, memory and disk. Changes nothing. The exit code is 1 if "
        "training could not run here, and 0 otherwise, warnings included.",
    )
    made.add_argument(
        "--start_ray",
        action="store_true",
        help="Also start Ray, run one task on it and stop it (about 15 seconds).",
    )
    made.add_argument("--json", action="store_true", help="Print one JSON object, for scripts.")
    return made


def run(parsed: Any) -> int:
    """Check the machine and print the results."""
    from itrec_dist.system import doctor

    checks = doctor.examine(start_ray=parsed.start_ray)
    can_run = doctor.can_run(checks)
    if parsed.json:
        content = {"can_run": can_run, "checks": [dataclasses.asdict(check) for check in checks]}
        print(json.dumps(content, indent=2))
        return 0 if can_run else 1
    _print_table([(check.status, check.name, check.found) for check in checks])
    advice = [(check.name, check.action) for check in checks if check.action]
    if advice:
        print("\nWhat to do:")
        for name, action in advice:
            print(f"  {name}: {action}")
    print("\nTraining can run here." if can_run else "\nTraining cannot run here.")
    return 0 if can_run else 1


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    """A table with colours on a terminal; one plain line per check elsewhere."""
    if not sys.stdout.isatty():
        width = max(len(name) for _, name, _ in rows)
        for status, name, found in rows:
            print(f"{status:<8} {name:<{width}}  {found}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "Check", "Found"):
        table.add_column(title)
    for status, name, found in rows:
        table.add_row(Text(status, colours[status]), Text(name), Text(found))
    Console().print(table)
