"""A sweep's tables: finalists, the ablation, every trial, failures; for HTML, Markdown and CSV."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from itrec_dist.config import as_text
from itrec_dist.data import schema
from itrec_dist.evaluation import statistics
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import RANKINGS, FigureName
from itrec_dist.reports import measures
from itrec_dist.reports.markdown import markdown_table
from itrec_dist.reports.measures import MISSING
from itrec_dist.reports.published import ite as published_ite
from itrec_dist.reports.sweep import schedule
from itrec_dist.reports.sweep.answer import metric_name, sentences, with_interval
from itrec_dist.reports.sweep.runs import Finalist, Sweep
from itrec_dist.reports.tables import Cell, Column, Row, Table
from itrec_dist.sweeps.directory import Trial, as_number, format_assignment
from itrec_dist.sweeps.space import Value

LOSS, SIDE = "loss", "model.side_information"
_COSTS = {
    "seconds": ("Seconds", "a run"),
    "windows_per_second": ("Windows/s", "training"),
    "num_parameters": ("Parameters", ""),
}


def finalists(sweep: Sweep) -> Table | None:
    """The retrained configurations, on validation and on test."""
    if not sweep.finalists:
        return None
    metrics = list(dict.fromkeys((sweep.metric, *_beside(sweep))))
    columns = [Column(measures.label(sweep.metric), "chosen by", "Validation, fresh seeds")]
    columns += [Column(measures.label(m), str(m), "Test") for m in metrics]
    rows = []
    for at, finalist in enumerate(sweep.finalists):
        cells = [_interval_cell(finalist, schema.VALIDATION, sweep.metric)]
        cells += [_interval_cell(finalist, schema.TEST, metric) for metric in metrics]
        tag = f"{len(finalist.runs)} fresh seeds" + (", recommended" if at == 0 else "")
        rows.append(Row(_label(finalist.trial), tag, False, tuple(cells)))
    return Table(
        "Finalists", tuple(columns), tuple(rows),
        ("Mean and half width of the 95% interval over seeds; the recommended one is first.",),
        "Configuration",
    )  # fmt: skip


def ablation(sweep: Sweep) -> Table | None:
    """Loss x side information: validation metric of all complete trials, and the paper's."""
    complete = sweep.ranked
    losses = _seen(sweep, complete, LOSS)
    sides = _seen(sweep, complete, SIDE)
    if len(losses) * len(sides) < 2 or not {LOSS, SIDE} & {d.name for d in sweep.dimensions}:
        return None
    has_paper = sweep.is_papers and sweep.metric == published_ite.ACCURACY_1
    columns = [
        Column(as_text(side), "mean ± sd of trials", "Side information") for side in sides
    ] + [Column(as_text(side), "", "Best trial") for side in sides]
    if has_paper:
        columns += [Column(as_text(side), "", "Printed in the paper", scores=False)
                    for side in sides]  # fmt: skip
    rows = []
    for loss in losses:
        cells, best, printed = [], [], []
        for side in sides:
            values = [
                t.outcome.value for t in complete
                if sweep.setting(t, LOSS) == loss and sweep.setting(t, SIDE) == side
            ]  # fmt: skip
            found = measures.figure(values)
            spread = "" if found.sd is None else f"± {measures.digits(found.sd)}"
            cells.append(Cell(measures.digits(found.mean), spread, found.mean))
            top = _best(sweep, [v for v in values if v is not None])
            best.append(Cell(measures.digits(top), value=top))
            theirs = published_ite.PRINTED.get((str(loss), str(side)), {}).get(sweep.metric.key)
            printed.append(Cell(measures.digits(theirs), value=theirs))
        cells += best + (printed if has_paper else [])
        count = sum(1 for t in complete if sweep.setting(t, LOSS) == loss)
        rows.append(Row(as_text(loss), f"{count} trials", False, tuple(cells)))
    others = [d.name for d in sweep.dimensions if d.name not in (LOSS, SIDE)]
    spread_of = measures.enumeration(others) if others else "nothing but the cell itself"
    remark = (
        f"{metric_name(sweep)} on validation. The spread is over trials that differ in {spread_of}."
    )
    stopped = len(sweep.having("stopped"))
    if stopped:
        remark += f" {stopped} trials that were stopped early are excluded."
    return Table("Loss x side information", tuple(columns), tuple(rows), (remark,), "Loss")


def effects(sweep: Sweep) -> Table | None:
    """How much each loss and each side information loses against the best one, over all cells."""
    best: dict[tuple[str, str], float] = {}
    for trial in reversed(sweep.ranked):
        cell = as_text(sweep.setting(trial, LOSS)), as_text(sweep.setting(trial, SIDE))
        best[cell] = trial.outcome.value or 0.0
    rows = []
    for at, name in enumerate((LOSS, SIDE)):
        values = [as_text(value) for value in _seen(sweep, sweep.ranked, name)]
        across = {cell[1 - at] for cell in best}
        cells = {v: {o: best.get((v, o) if at == 0 else (o, v)) for o in across} for v in values}
        whole = [o for o in across if all(cells[v][o] is not None for v in values)]
        if len(values) < 2 or not whole:
            continue
        figures = {v: [cells[v][o] or 0.0 for o in whole] for v in values}
        means = {v: float(np.mean(figures[v])) for v in values}
        first = max(means, key=lambda v: sweep.config.score(means[v]))
        for value in values:
            lost = statistics.interval(np.subtract(figures[value], figures[first]).tolist())
            half = "" if lost.half is None else f"± {lost.half:.4f}"
            shown = Cell(f"{lost.mean:+.4f}", half, lost.mean)
            mean = Cell(measures.digits(means[value]), value=means[value])
            row = (mean, Cell(MISSING) if value == first else shown)
            tag = f"{len(whole)} cell{'s' if len(whole) > 1 else ''}"
            rows.append(Row(f"{_setting_name(name)} {value}", tag, False, row))
    if not rows:
        return None
    columns = (
        Column("Mean", "best trial of each cell"),
        Column("Against the best", "95% interval"),
    )
    remark = (
        "Each cell of the table above is represented by its best trial, and compared with cells "
        "that share the other setting; all else was searched equally in each. The interval is over "
        "these pairs and ignores the variance between users, which the test of the finalists "
        "includes."
    )
    return Table("Effect of each setting", columns, tuple(rows), (remark,), "Setting")


def every_trial(sweep: Sweep) -> Table:
    """All trials with a result, best first, and their cost."""
    shown = [*sweep.ranked, *sweep.having("stopped")]
    columns = [Column(measures.label(sweep.metric), "validation")]
    columns += [Column(_setting_name(d.name), "", "Settings", scores=False)
                for d in sweep.dimensions]  # fmt: skip
    columns += [Column(*titles, "Cost", scores=False) for titles in _COSTS.values()]
    rows = []
    for trial in shown:
        outcome = trial.outcome
        found = measures.figure(outcome.values)
        spread = "" if found.sd is None else f"± {measures.digits(found.sd)}"
        cells = [Cell(measures.digits(outcome.value), spread, outcome.value)]
        cells += [_setting_cell(trial.assignment.get(d.name, MISSING)) for d in sweep.dimensions]
        cells += [_cost_cell(trial, cost) for cost in _COSTS]
        tag = "" if outcome.status == "complete" else outcome.status
        rows.append(Row(trial.label, tag, False, tuple(cells)))
    return Table("Every trial", tuple(columns), tuple(rows), (), "Trial")


def failures(sweep: Sweep) -> list[tuple[str, str, str, str]]:
    """(trial, status, settings, error) of the trials without a result."""
    rows = [
        (
            t.label,
            "failed (transient)" if t.outcome.transient else t.outcome.status,
            format_assignment(t.assignment),
            t.outcome.error or "cut off, not run again",
        )
        for t in sweep.having("failed", "refused", "open")
    ]
    return rows + [
        (f"{e['trial']:04d} seed {e['seed']}", "final failed", "", str(e.get("error")))
        for e in sweep.failed_finals
    ]


def slices(sweep: Sweep) -> Table | None:
    """The two best finalists on slices of the test windows, by user features."""
    shown = [f for f in sweep.finalists[:2] if f.windows]
    if not shown or not sweep.manifest.user_features:
        return None
    first = shown[0].windows[0]
    paired = sweep.paired_figure
    if not all(windows.holds(paired) for f in shown for windows in f.windows):
        return None
    columns = [Column("Windows", scores=False)]
    columns += [Column(f"Trial {f.trial.label}", measures.words(paired)) for f in shown]
    columns += [Column("Difference", "95% interval")] if len(shown) > 1 else []
    rows = []
    for at, feature in enumerate(sweep.manifest.user_features):
        for code, value in enumerate(feature.values, 1):
            chosen = first.user_features[:, at] == code
            if chosen.sum() < 30:  # too few to be meaningful
                continue
            sides = [[w.values(paired)[chosen] for w in f.windows] for f in shown]
            cells = [Cell(f"{int(chosen.sum()):,}", value=float(chosen.sum()))]
            means = [float(np.mean(np.stack(side))) for side in sides]
            cells += [Cell(measures.digits(mean), value=mean) for mean in means]
            if len(shown) > 1:
                test = statistics.paired(sides[0], sides[1], first.user_ids[chosen])
                bounds = f"{test.low:+.4f} to {test.high:+.4f}"
                cells.append(Cell(f"{test.difference:+.4f}", bounds, test.difference))
            rows.append(Row(f"{feature.name} {value}", "", False, tuple(cells)))
    remark = "Slices with at least 30 test windows; with many intervals, some miss by chance."
    return (
        Table("Slices of test", tuple(columns), tuple(rows), (remark,), "Users") if rows else None
    )


def as_markdown(sweep: Sweep) -> str:
    """The answer and the tables as Markdown."""
    blocks = [f"# Sweep: {sweep.directory.path.name}"]
    blocks.append("\n".join(f"- {sentence}" for sentence in sentences(sweep)))
    found = (
        finalists(sweep),
        schedule.schedules(sweep),
        ablation(sweep),
        effects(sweep),
        every_trial(sweep),
        slices(sweep),
    )
    blocks += [markdown_table(table) for table in found if table is not None and table.rows]
    lost = failures(sweep)
    if lost:
        lines = ["### Without a result", "", "| trial | status | settings | error |",
                 "|---|---|---|---|"]  # fmt: skip
        lines += ["| " + " | ".join(p.replace("|", "\\|") for p in row) + " |" for row in lost]
        blocks.append("\n".join(lines))
    blocks.append(f"Data fingerprint `{sweep.manifest.fingerprint[:16]}`.")
    return "\n\n".join(blocks) + "\n"


def as_csv(sweep: Sweep) -> str:
    """One row per trial and per final run."""
    names = [d.name for d in sweep.dimensions]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ["kind", "trial", "seed", "status", "validation", "test", *names, *_COSTS, "error"]
    )
    for trial in sweep.trials:
        settings = [_plain(trial.assignment.get(name, "")) for name in names]
        outcome = trial.outcome
        cost = [outcome.cost.get(name, "") for name in _COSTS]
        value = "" if outcome.value is None else outcome.value
        rows.writerow(["trial", trial.number, "", outcome.status, value, "", *settings, *cost,
                       outcome.error or ""])  # fmt: skip
    for finalist in sweep.finalists:
        settings = [_plain(finalist.trial.assignment.get(name, "")) for name in names]
        figures = zip(
            finalist.evaluations,
            finalist.values(schema.VALIDATION, sweep.metric),
            finalist.values(schema.TEST, sweep.metric),
            strict=True,
        )
        for evaluation, validation, test in figures:
            rows.writerow(["final", finalist.trial.number, evaluation["seed"], "complete",
                           validation, test, *settings, *[""] * len(_COSTS), ""])  # fmt: skip
    return text.getvalue()


def _beside(sweep: Sweep) -> list[FigureName]:
    """Further metrics to show: for a ranking metric, precision and hit rate of both rankings."""
    if sweep.metric.group not in RANKINGS:
        return []
    held = {
        name
        for finalist in sweep.finalists
        for evaluation in finalist.evaluations
        for judged in evaluation["splits"].values()
        for name, _ in Judgement.from_json(judged).figures()
    }
    cutoffs = [n.cutoff for n in held if n.metric == "precision" and n.cutoff is not None]
    return [
        FigureName(group, metric, 5).nearest(cutoffs)
        for group in RANKINGS
        for metric in ("precision", "hit_rate")
    ]


def _interval_cell(finalist: Finalist, split: str, metric: FigureName) -> Cell:
    found = finalist.interval(split, metric)
    if found is None:
        return Cell(MISSING)
    text, _, spread = with_interval(found).partition("\u00a0")
    return Cell(text, spread, found.mean)


def _setting_cell(value: Value) -> Cell:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(as_number(value), value=float(value) if is_number else None)  # type: ignore[arg-type]


def _cost_cell(trial: Trial, cost: str) -> Cell:
    value = trial.outcome.cost.get(cost)
    if value is None:
        return Cell(MISSING)
    return Cell(f"{value:,.0f}" if value >= 100 else f"{value:.1f}", value=value)


def _seen(sweep: Sweep, trials: Sequence[Trial], name: str) -> list[Value]:
    """The values of a setting in these trials, in the order of the paper's arms."""
    found = {as_text(value): value for t in trials if (value := sweep.setting(t, name)) is not None}
    order = [*published_ite.LOSSES, *published_ite.SIDES]
    return [found[text] for text in sorted(found, key=lambda t: (t not in order,
            order.index(t) if t in order else 0, t))]  # fmt: skip


def _best(sweep: Sweep, values: Sequence[float]) -> float | None:
    return max(values, key=sweep.config.score) if values else None


def _label(trial: Trial) -> str:
    return f"{trial.label} · {format_assignment(trial.assignment)}"


def _setting_name(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _plain(value: Value) -> str:
    return as_text(value)
