"""The page on a sweep: the answer first, then the evidence, then how to retrain the winner."""

from dataclasses import replace

from markupsafe import Markup

from itrec_dist import __version__
from itrec_dist.reports import measures, provenance, tables
from itrec_dist.reports.charts import PALETTE, Level, Line, LineChart, line_chart
from itrec_dist.reports.page import asset, now, templates
from itrec_dist.reports.sweep import charts as sweep_charts
from itrec_dist.reports.sweep import schedule
from itrec_dist.reports.sweep import tables as sweep_tables
from itrec_dist.reports.sweep.answer import COSTS, MIN_TRIALS, metric_name, sentences
from itrec_dist.reports.sweep.charts import Axis, Mark, Spot
from itrec_dist.reports.sweep.runs import Sweep
from itrec_dist.reports.tables import Table
from itrec_dist.sweeps.config import Cost
from itrec_dist.sweeps.directory import Trial, format_assignment
from itrec_dist.sweeps.pareto import RISING, front
from itrec_dist.sweeps.tpe import importances

_NAMED = 5  # curves with a label


def render(sweep: Sweep, title: str) -> str:
    """Render the page on a sweep."""
    facts, _ = provenance.divided_environment([sweep.environment])
    return (
        templates()
        .get_template("sweep.html.j2")
        .render(
            title=title,
            style=asset("page.css"),
            scripts=[asset("page.js"), asset("sweep.js")],
            sentences=sentences(sweep),
            metric=metric_name(sweep),
            finalists=sweep_tables.finalists(sweep),
            ablation=_marked(sweep),
            effects=sweep_tables.effects(sweep),
            trials=sweep_tables.every_trial(sweep),
            slices=sweep_tables.slices(sweep),
            failures=sweep_tables.failures(sweep),
            curves=_figures([("Validation, epoch by epoch", curves(sweep))]),
            parallel=_figures([("Every trial over its settings", parallel(sweep))]),
            pareto=_figures([_pareto(sweep), _importance(sweep)]),
            has_stopped=bool(sweep.having("stopped")),
            schedules=schedule.schedules(sweep),
            retraining=schedule.retraining(sweep),
            data=provenance.data(sweep.manifest),
            steps=provenance.steps(sweep.manifest) if sweep.manifest.steps else None,
            audit=provenance.audit_rows(sweep.manifest) if sweep.manifest.audit else None,
            recipe=sweep.directory.recipe.read_text(encoding="utf-8").strip(),
            environment=facts,
            version=__version__,
            written=now(),
        )
    )


def curves(sweep: Sweep) -> str:
    """The metric on validation after each epoch, of all trials; stopped ones are dashed."""
    ranked = [t for t in sweep.ranked if sweep.curves[t.number]]
    lines = []
    for at, trial in enumerate(ranked):
        is_named = at < _NAMED
        colour = PALETTE[at % len(PALETTE)] if is_named else "#8b95a5"
        lines.append(
            Line(f"trial {trial.label}", sweep.curves[trial.number], colour, is_thin=not is_named)
        )
    for trial in sweep.having("stopped"):
        points = sweep.curves[trial.number]
        lines.append(
            Line(f"trial {trial.label}", points, "#b8430b", is_thin=True, dash="4 3",
                 marks=points[-1:])
        )  # fmt: skip
    levels: tuple[Level, ...] = ()
    title = metric_name(sweep)
    chart = LineChart(title, tuple(lines), levels, width=1000, height=380, label_width=110)
    return line_chart(chart)


def parallel(sweep: Sweep) -> str:
    """One axis per searched setting, the metric last."""
    shown = _with_value(sweep)
    scores = [sweep.config.score(t.outcome.value or 0.0) for t in shown]
    if not scores:
        return ""
    order = sorted(scores)  # colour by rank: a single poor trial would make all others look alike
    marks = [
        Mark(
            f"trial {trial.label}: {measures.digits(trial.outcome.value)}",
            order.index(score) / max(len(scores) - 1, 1),
            format_assignment(trial.assignment), trial.outcome.status == "stopped",
        )
        for trial, score in zip(shown, scores, strict=True)
    ]  # fmt: skip
    axes = [
        Axis(
            d.name.rpartition(".")[2].replace("_", " "),
            tuple(t.assignment.get(d.name, measures.MISSING) for t in shown),
            d.is_log, d.is_finite and len(d.values) <= 12,
        )
        for d in sweep.dimensions
    ]  # fmt: skip
    values = tuple(t.outcome.value for t in shown)
    axes.append(Axis(sweep.metric.key, values, is_listed=False))
    return sweep_charts.parallel(axes, marks)


def _pareto(sweep: Sweep) -> tuple[str, str]:
    cost: Cost = sweep.config.search.against or "seconds"
    shown = [t for t in _with_value(sweep) if cost in t.outcome.cost]
    on_front = {t.number for t in front(sweep.config, cost, shown)}
    chosen = {f.trial.number for f in sweep.finalists[:1]}
    spots = [
        Spot(
            f"trial {t.label}: {measures.digits(t.outcome.value)}, {t.outcome.cost[cost]:,.4g} "
            f"{COSTS[cost]}; {format_assignment(t.assignment)}",
            t.outcome.cost[cost], t.outcome.value or 0.0, t.number in on_front, t.number in chosen,
        )
        for t in shown
    ]  # fmt: skip
    svg = sweep_charts.scatter(
        spots, COSTS[cost], metric_name(sweep), more_is_better=cost in RISING
    )
    return f"{metric_name(sweep)} against {COSTS[cost]}", svg


def _importance(sweep: Sweep) -> tuple[str, str]:
    complete = sweep.ranked
    title = "Importance of the settings"
    if len(complete) < MIN_TRIALS:
        return title, ""
    rows = importances(sweep.directory.read_space(), sweep.config, complete)
    return title, sweep_charts.bars(rows, title)


def _with_value(sweep: Sweep) -> list[Trial]:
    return [t for t in sweep.trials if t.outcome.value is not None]


def _figures(found: list[tuple[str, str]]) -> list[tuple[str, Markup]]:
    """The charts escape what they print, so their SVG goes in as it is."""
    return [(title, Markup(svg)) for title, svg in found if svg]


def _marked(sweep: Sweep) -> Table | None:
    table = sweep_tables.ablation(sweep)
    if table is None:
        return None
    columns = [replace(c, lower_is_better=sweep.config.lower_is_better) for c in table.columns]
    return replace(table, rows=tables.marked(columns, table.rows))
