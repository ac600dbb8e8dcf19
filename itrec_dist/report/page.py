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
from itrec_dist.report import curves, provenance, samples, tables
from itrec_dist.report.arms import Section, sections
from itrec_dist.report.published.ite import SOURCE
from itrec_dist.report.runs import Run
from itrec_dist.report.sections import (
    next_items as next_items_section,
)
from itrec_dist.report.sections import (
    ratings as ratings_section,
)


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
            across=_across(found),
            configurations=provenance.settings(runs),
            environment=shared,
            environments=differing,
            runs=[(run, provenance.run_label(run), _status(run)) for run in runs],
            num_runs=len(runs),
            paper_source=SOURCE,
            version=__version__,
            written=now(),
        )
    )


def _across(found: Sequence[Section]) -> list[tables.Table]:
    """Of what stands on several data sets, next items and ratings apart."""
    ranked = [section for section in found if not section.is_ratings]
    rated = [section for section in found if section.is_ratings]
    made = [tables.across(ranked)] if len(ranked) > 1 else []
    return made + ([ratings_section.across(rated)] if len(rated) > 1 else [])


def _rating_section(section: Section, name: str, anchor: str) -> dict[str, Any]:
    return {
        **_shared(section, name, anchor),
        "is_ratings": True,
        "sentences": [*ratings_section.sentences(section), *provenance.audit_sentences(section)],
        "results": ratings_section.results(section),
        "dots": _drawn(ratings_section.dots(section)),
        "overlay": _drawn(ratings_section.overlay(section)),
        "curves": [
            {"title": s.title, "remark": s.remark, "figures": _drawn(s.figures)}
            for s in ratings_section.of_arms(section)
        ],
    }


def _shared(section: Section, name: str, anchor: str) -> dict[str, Any]:
    manifest = section.manifest
    costs = tables.costs(section)
    return {
        "id": anchor,
        "name": name,
        "is_ratings": False,
        "fingerprint": section.fingerprint,
        "manifest": manifest,
        "costs": costs if costs.rows else None,
        "data": provenance.data(manifest) if manifest else [],
        "steps": provenance.steps(manifest) if manifest and manifest.steps else None,
        "audit": provenance.audit_rows(manifest) if manifest and manifest.audit else None,
    }


def _section(section: Section, name: str, anchor: str) -> dict[str, Any]:
    if section.is_ratings:
        return _rating_section(section, name, anchor)
    details = [
        tables.details(section, split, masking)
        for split in reversed(section.splits)
        for masking in section.maskings
    ]
    return {
        **_shared(section, name, anchor),
        "is_papers": section.is_papers,
        "final_split": section.final_split,
        "sentences": [*next_items_section.sentences(section), *provenance.audit_sentences(section)],
        "accuracies": tables.accuracies(section),
        "details": details,
        "dots": _drawn(curves.dots(section)),
        "overlay": _drawn(curves.overlay(section)),
        "curves": [
            {"title": s.title, "remark": s.remark, "figures": _drawn(s.figures)}
            for s in curves.of_arms(section)
        ],
        "training_sample": curves.training_sample(section),
        "samples": samples.of(section),
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
