"""Result tables as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from itrec_dist.reports import provenance, sections
from itrec_dist.reports.arms import Section
from itrec_dist.reports.arms import sections as grouped
from itrec_dist.reports.runs import find, read
from itrec_dist.reports.tables import Table, names


def markdown(places: Sequence[Path]) -> str:
    """The result tables of runs (or folders of runs) as Markdown: mean ± sd per arm.

    Raises:
        CheckpointError: a folder contains no run, or a damaged one.
    """
    found = grouped([read(path) for path in find(places)])
    blocks = [markdown_table(table) for table in across(found)]
    for section, name in zip(found, names(found), strict=True):
        shown = sections.of(section)
        sentences = [*shown.sentences(), *provenance.sentences(section)]
        lines = [f"## {name}", "", f"Data fingerprint `{section.fingerprint[:16]}`."]
        lines += ["", *(f"- {sentence}" for sentence in sentences)]
        blocks.append("\n".join(lines))
        blocks += [markdown_table(table) for table in shown.tables()]
    return "\n\n".join(blocks) + "\n"


def across(found: Sequence[Section]) -> list[Table]:
    """For each task with several sets of windows, a table of the same arms on all of them."""
    by_task: dict[str, list[Section]] = {}
    for section in found:
        by_task.setdefault(section.task, []).append(section)
    return [
        sections.class_of(task).across(members)
        for task, members in by_task.items()
        if len(members) > 1
    ]


def markdown_table(table: Table) -> str:
    """A table as Markdown."""
    titles = [table.head.lower(), "runs"]
    for column in table.columns:
        parts = [column.group, column.title, f"({column.subtitle})" if column.subtitle else ""]
        titles.append("<br>".join(_plain(part) for part in parts if part))
    lines = [f"### {table.title}", "", *table.remarks, *([""] if table.remarks else [])]
    lines += ["| " + " | ".join(titles) + " |", "|---|---|" + "---:|" * len(table.columns)]
    for row in table.rows:
        cells = []
        for cell in row.cells:
            text = f"{cell.text} {cell.spread}".strip()
            text = f"**{text}**" if cell.is_best else text
            cells.append(f"{text} (so far)" if cell.is_provisional and cell.value else text)
        lines.append("| " + " | ".join([_plain(row.label), _plain(row.tag), *cells]) + " |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text escaped for a Markdown table cell."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
