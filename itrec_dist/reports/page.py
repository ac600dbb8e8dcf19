"""The HTML page: one self-contained file that works offline.

Renders the templates; Jinja escapes every value that they print, except our own SVG, style and
script.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from itrec_dist import __version__
from itrec_dist.reports import curves, provenance, tables
from itrec_dist.reports.arms import Section, sections
from itrec_dist.reports.markdown import across
from itrec_dist.reports.runs import Run
from itrec_dist.reports.sections import of


def render(runs: Sequence[Run], title: str) -> str:
    """Render the page on these runs."""
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
        "sentences": [*content.sentences, *provenance.sentences(section)],
        "dots": _drawn(content.dots),
        "overlay": _drawn(content.overlay),
        "slices": _drawn(content.slice_charts),
        "curves": [
            {"title": s.title, "remark": s.remark, "figures": _drawn(s.charts)}
            for s in content.curves
        ],
        "fingerprint": section.fingerprint,
        "manifest": manifest,
        "costs": costs if costs.rows else None,
        "data": provenance.data(manifest) if manifest else [],
        "steps": provenance.steps(manifest) if manifest and manifest.steps else None,
        "audit": provenance.audit_rows(manifest) if manifest and manifest.audit else None,
    }


def _drawn(charts: Sequence[curves.Chart]) -> list[tuple[str, Markup]]:
    """Charts as (title, SVG); charts.py escapes its texts, so the SVG is not escaped again."""
    return [(chart.title, Markup(chart.svg)) for chart in charts]


def _status(run: Run) -> str:
    if run.is_complete:
        return "complete"
    reason = run.end.get("reason")
    if run.has_nothing_to_judge:
        return f"not evaluated, nothing is held out, {reason}" if reason else "incomplete"
    return f"incomplete, {reason}" if reason else "incomplete"


def templates() -> jinja2.Environment:
    """The templates; they escape what they print, and an undefined name is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("itrec_dist.reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """A style sheet or script of the templates folder, unescaped."""
    return Markup(
        resources.files("itrec_dist.reports").joinpath("templates", name).read_text("utf-8")
    )


def now() -> str:
    """The current time, as pages print it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def default_place(places: Sequence[Path], runs: Sequence[Run]) -> Path:
    """report.html in the single folder given, or in the nearest folder that contains all runs."""
    if len(places) == 1:
        return places[0].resolve() / "report.html"
    parents = [set(run.path.parents) | {run.path} for run in runs]
    shared = set.intersection(*parents)
    return max(shared, key=lambda p: len(p.parts)) / "report.html"
