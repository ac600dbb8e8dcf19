"""Tables of results as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from itrec_dist.report import provenance
from itrec_dist.report.arms import sections
from itrec_dist.report.runs import find, read
from itrec_dist.report.sections import next_items as next_items_section
from itrec_dist.report.tables import (
    Table,
    accuracies,
    across,
    details,
    names,
)


def markdown(places: Sequence[Path]) -> str:
    """The result tables over runs (or folders of runs) as Markdown: mean ± sd per arm.

    Raises:
        CheckpointError: a place holds no run, or a damaged one.
    """
    found = sections([read(path) for path in find(places)])
    blocks = []
    if len(found) > 1:
        blocks.append(markdown_table(across(found)))
    for section, name in zip(found, names(found), strict=True):
        sentences = [*next_items_section.sentences(section), *provenance.audit_sentences(section)]
        lines = [f"## {name}", "", f"Data fingerprint `{section.fingerprint[:16]}`."]
        lines += ["", *(f"- {sentence}" for sentence in sentences)]
        blocks.append("\n".join(lines))
        blocks.append(markdown_table(accuracies(section)))
        blocks += [
            markdown_table(details(section, split, masking))
            for split in section.splits
            for masking in section.maskings
        ]
    return "\n\n".join(blocks) + "\n"


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
    """Text that cannot break out of a Markdown table cell."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
