"""The HTML page: one file with everything inside, that opens without a network.

Owns the order of the page and its templates; every value that the templates print is escaped by
Jinja, and only our own SVG, style and script go in as they are.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from itrec_dist import __version__
from itrec_dist.report import curves, provenance, tables
from itrec_dist.report.arms import Section, sections
from itrec_dist.report.markdown import across
from itrec_dist.report.runs import Run
from itrec_dist.report.sections import of


def render(runs: Sequence[Run], title: str) -> str:
    """The page over these runs."""
    found = sections(runs)
    shared, differing = provenance.environment(runs)
    return (
        templates()
        .get_template("page.html.j2")
        .render(
            title=title,
            style=asset("page.css"),
            script=asset("page.js"),
            sections=[
                _section(section, name, f"s{at}")
                for at, (section, name) in enumerate(
                    zip(found, tables.names(found), strict=True), 1
                )
            ],
            across=across(found),
            configurations=provenance.settings(runs),
            environment=shared,
            environments=differing,
            runs=[(run, provenance.run_label(run), _status(run)) for run in runs],
            num_runs=len(runs),
            version=__version__,
            written=now(),
        )
    )


def _section(section: Section, name: str, anchor: str) -> dict[str, Any]:
    content = of(section).content()
    manifest = section.manifest
    costs = tables.costs(section)
    return {
        "id": anchor,
        "name": name,
        "content": content,
        "sentences": [*content.sentences, *provenance.audit_sentences(section)],
        "dots": _drawn(content.dots),
        "overlay": _drawn(content.overlay),
        "curves": [
            {"title": s.title, "remark": s.remark, "figures": _drawn(s.figures)}
            for s in content.curves
        ],
        "fingerprint": section.fingerprint,
        "manifest": manifest,
        "costs": costs if costs.rows else None,
        "data": provenance.data(manifest) if manifest else [],
        "steps": provenance.steps(manifest) if manifest and manifest.steps else None,
        "audit": provenance.audit_rows(manifest) if manifest and manifest.audit else None,
    }


def _drawn(figures: Sequence[curves.Figure]) -> list[tuple[str, Markup]]:
    """charts.py escapes what it prints, so its SVG goes in as it is."""
    return [(figure.title, Markup(figure.svg)) for figure in figures]


def _status(run: Run) -> str:
    if run.is_complete:
        return "complete"
    reason = run.end.get("reason")
    if run.has_nothing_to_judge:
        return f"not judged, nothing is held out, {reason}" if reason else "incomplete"
    return f"incomplete, {reason}" if reason else "incomplete"


def templates() -> jinja2.Environment:
    """The templates; they escape what they print, and a name that they do not get is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("itrec_dist.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """A style or script of ours, as it goes into the page."""
    return Markup(
        resources.files("itrec_dist.report").joinpath("templates", name).read_text("utf-8")
    )


def now() -> str:
    """The moment of writing, as pages print it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def default_place(places: Sequence[Path], runs: Sequence[Run]) -> Path:
    """Inside the single folder given, or the nearest folder that holds all runs."""
    if len(places) == 1:
        return places[0].resolve() / "report.html"
    parents = [set(run.path.parents) | {run.path} for run in runs]
    shared = set.intersection(*parents)
    return max(shared, key=lambda p: len(p.parts)) / "report.html"
