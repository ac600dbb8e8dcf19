"""Successive halving over trials of two workers each: how many epochs it spares, and who wins.

    python jobs/benchmarks/sweep_groups.py --out sweeps/groups [--alone] [--replay]

The same eight trials on generated data, all trained to their end and then under ASHA. Without
dropout a trial has the same losses on any number of workers: with --alone the first search trains
its trials by one worker each in this process, which spares eight launches; with --replay ASHA
launches none, and its scheduler is asked about the losses that the first search logged, trial after
trial. Interrupted, it goes on with what is left. Exits with 1 if ASHA trains more than 60 % of the
epochs or finds another winner.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measuring import machine
from ray.tune.schedulers import TrialScheduler

from itrec_dist import config
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.sweeps import checks
from itrec_dist.sweeps.config import SchedulerConfig, SweepConfig
from itrec_dist.sweeps.directory import SweepDirectory, ranked
from itrec_dist.sweeps.driver import Place, run
from itrec_dist.tasks.next_items.windows import WindowConfig, window

MOST = 0.6
"""Part of the epochs of the whole search that ASHA may train."""
SWEEP: dict[str, Any] = {
    "base": "debug", "metric": "loss", "trials": 8,
    "space": {"optimizer.learning_rate": {"loguniform": [1e-5, 0.03]}},
    "fixed": {
        "cluster.num_workers": 2, "training.epochs": 12, "loss": "softmax",
        "evaluation.train_sample": 0,
    },
    "final": {"candidates": 0},
}  # fmt: skip


@dataclass(frozen=True)
class Searched:
    """What a search trained and found."""

    epochs: list[int]
    """Of each trial."""
    stopped: int
    winner: str
    loss: float
    seconds: float

    def row(self, name: str) -> str:
        """A line of the table."""
        return (
            f"| {name} | {sum(self.epochs)} | {' '.join(map(str, self.epochs))} | {self.stopped} | "
            f"{self.winner} | {self.loss:.4f} | {self.seconds:,.0f} |"
        )


def search(sweep: SweepConfig, *, local: bool = False) -> Searched:
    """Run a sweep or what is left of it, on a Ray cluster on this machine unless it is local."""
    directory = SweepDirectory(sweep.out)
    run(
        checks.checked(sweep), resume=directory.exists, place=Place(local),
        say=lambda line: print("#", line, flush=True),
    )  # fmt: skip
    trials = directory.trials()
    best = ranked(sweep, trials)[0]
    return Searched(
        [len(directory.log_of(trial.number).events("epoch")) for trial in trials],
        sum(trial.outcome.status == "stopped" for trial in trials),
        best.label,
        best.outcome.value or 0.0,
        sum(session["seconds"] for session in directory.events("session")),
    )


def replay(sweep: SweepConfig, directory: SweepDirectory) -> Searched:
    """What ASHA would stop of a search whose trials were all trained, one at a time."""
    from itrec_dist.sweeps.asha import EPOCH, JOB, SCORE, Halving

    scheduler = Halving((), sweep.scheduler.grace, sweep.scheduler.reduction, [])
    nobody: Any = None
    epochs, stopped, whole = [], 0, []
    for trial in directory.trials():
        events = directory.log_of(trial.number).events("epoch")
        told: Any = SimpleNamespace(
            trial_id=trial.label, config={JOB: json.dumps({"assignment": trial.assignment})}
        )
        scheduler.on_trial_add(nobody, told)
        results = [{EPOCH: e["epoch"], SCORE: -e["validation"]["loss"]} for e in events]
        decisions = (scheduler.on_trial_result(nobody, told, one) for one in results[:-1])
        at = next((n for n, d in enumerate(decisions, 1) if d == TrialScheduler.STOP), None)
        epochs.append(at or len(events))
        stopped += at is not None
        whole += [trial] if at is None else []
    best = ranked(sweep, whole)[0]
    return Searched(epochs, stopped, best.label, best.outcome.value or 0.0, 0.0)


def main() -> int:
    """Run both searches and print what they trained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder for both sweeps")
    parser.add_argument("--alone", action="store_true", help="train the first search in process")
    parser.add_argument("--replay", action="store_true", help="ask ASHA about the first search")
    given = parser.parse_args()
    out, alone = given.out.absolute(), given.alone
    with tempfile.TemporaryDirectory(prefix="itrec-groups-") as folder:
        data, shards = Path(folder) / "data", Path(folder) / "shards"
        generate(SyntheticConfig(users=300, movies=100, ratings_per_user=25.0, seed=3), data)
        window("ml-1m", data, shards, WindowConfig(top_items=60, validation_fraction=0.2, stride=4))
        recipe = Path(folder) / "sweep.yaml"
        recipe.write_text(config.as_yaml({**SWEEP, "shards": shards, "out": out / "whole"}))
        whole = config.load(SweepConfig, recipe)
        asha = SchedulerConfig(name="asha", grace=2, reduction=3)
        one = {**whole.fixed, "cluster.num_workers": 1}
        halved = replace(whole, out=out / "asha", scheduler=asha)
        found = {
            "none": search(replace(whole, fixed=one) if alone else whole, local=alone),
            "asha": replay(halved, SweepDirectory(whole.out)) if given.replay else search(halved),
        }
    print("| scheduler | epochs | of each trial | stopped | winner | its loss | seconds |")
    print("|---|---:|---|---:|---|---:|---:|")
    for name, searched in found.items():
        print(searched.row(name))
    part = sum(found["asha"].epochs) / sum(found["none"].epochs)
    is_same = found["asha"].winner == found["none"].winner
    says = "the same" if is_same else "another"
    print(f"\nASHA trained {part:.0%} of the epochs; the winner is {says}.")
    print(machine())
    return 0 if part <= MOST and is_same else 1


if __name__ == "__main__":
    sys.exit(main())
