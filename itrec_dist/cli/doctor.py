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
    from itrec_dist.api import machine

    examined = machine.doctor(start_ray=parsed.start_ray)
    code = 0 if examined.can_run else 1
    if parsed.json:
        checks = [dataclasses.asdict(check) for check in examined.checks]
        print(json.dumps({"can_run": examined.can_run, "checks": checks}, indent=2))
        return code
    if sys.stdout.isatty():
        _print_table([(check.status, check.name, check.found) for check in examined.checks])
    else:
        print(examined.table())
    print(f"\n{examined.advice()}")
    return code


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    """The table with colours, for a terminal."""
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
