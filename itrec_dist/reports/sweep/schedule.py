"""The schedule of settings of the winner, if they changed in training, and how to retrain it."""

from typing import Any

import yaml

from itrec_dist.reports.sweep.runs import Sweep
from itrec_dist.reports.tables import Cell, Column, Row, Table
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps.directory import Trial, as_number
from itrec_dist.sweeps.space import Assignment


def sentence(trial: Trial) -> str | None:
    """A note on the results of a trial whose settings changed in training; None otherwise."""
    if not trial.stages:
        return None
    times = "once" if len(trial.stages) == 1 else f"{len(trial.stages)} times"
    return (
        f"The settings of trial {trial.label} changed {times} while it trained; those above are "
        "its last ones. Its result is that of the whole schedule, retrained with each fresh seed, "
        "and not of any single configuration."
    )


def schedules(sweep: Sweep) -> Table | None:
    """The settings that the finalists were trained with, stage by stage; None without stages."""
    shown = [f.trial for f in sweep.finalists] or sweep.ranked[:1]
    names = [
        name for name in (d.name for d in sweep.dimensions)
        if any(len({str(a.get(name)) for _, a in _parts(sweep, t)}) > 1 for t in shown)
    ]  # fmt: skip
    if not any(trial.stages for trial in shown):
        return None
    rows = []
    for trial in shown:
        begun = 1
        owners = [*(stage.trial for stage in trial.stages), trial.number]
        for (until, assignment), owner in zip(_parts(sweep, trial), owners, strict=True):
            cells = [Cell(as_number(assignment[n]) if n in assignment else "—") for n in names]
            tag = "" if owner == trial.number else f"as trial {owner:04d}"
            epochs = f"epoch {until}" if begun == until else f"epochs {begun} to {until}"
            rows.append(Row(f"{trial.label} · {epochs}", tag, False, tuple(cells)))
            begun = until + 1
    columns = [Column(name.rpartition(".")[2].replace("_", " "), scores=False) for name in names]
    remark = (
        "“as trial” marks stages whose weights and settings were copied from another trial; "
        "settings that never changed are omitted."
    )
    return Table("Schedules", tuple(columns), tuple(rows), (remark,), "Stage")


def retraining(sweep: Sweep) -> dict[str, str] | None:
    """How to retrain the recommended configuration: an instruction, a command and a recipe."""
    trial = sweep.finalists[0].trial if sweep.finalists else None
    if trial is None and sweep.ranked:
        trial = sweep.ranked[0]
    if trial is None:
        return None
    place = sweep.directory.run(trial.number, 0)
    if sweep.finalists:
        place = sweep.finalists[0].runs[0].path
    config: dict[str, Any] = yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8"))
    shards = str(config.pop("shards"))
    config.pop("out")
    config["evaluation"]["judge_test"] = True
    recipe = yaml.safe_dump(config, sort_keys=False, allow_unicode=True).strip()
    if trial.stages:
        return {**_by_schedule(sweep), "recipe": recipe}
    return {
        "instruction": "Save this as winner.yaml and run",
        "command": f"itrec train --local --config winner.yaml --shards {shards} --out runs/winner",
        "recipe": recipe,
    }


def _by_schedule(sweep: Sweep) -> dict[str, str]:
    """One more fresh seed of each finalist, since only the sweep itself has their schedules."""
    final = sweep.config.final
    more = f"--final.candidates {max(final.candidates, 1)} --final.seeds "
    more += str(final.seeds + 1 if sweep.finalists else 1)
    recipe, where = str(sweep.directory.recipe), "of the sweep"
    if isinstance(sweep.directory.place, Uri):
        recipe = sweep.directory.recipe.name
        where += f"; {sweep.directory.place.below(recipe)} is to be copied to this folder first"
    return {
        "instruction": "The winner is a schedule of settings, which itrec train cannot repeat. "
        "This command retrains it, and the other finalists, by their schedules with one more fresh "
        f"seed, into the folder finals {where}. Below are the settings of its last stage",
        "command": f"itrec sweep --config {recipe} --resume {more}",
    }


def _parts(sweep: Sweep, trial: Trial) -> list[tuple[int, Assignment]]:
    """(last epoch, settings) of every stage, the last included."""
    epochs = sweep.setting(trial, "training.epochs")
    assert isinstance(epochs, int)
    return [*trial.before, (epochs, trial.assignment)]
