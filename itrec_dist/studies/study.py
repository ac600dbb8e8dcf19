"""What a study is: arms, the protocols that they are judged on, and how its results are told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itrec_dist import tasks
from itrec_dist.data import manifest
from itrec_dist.evaluation import baselines
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName
from itrec_dist.runs.directory import RunDirectory


@dataclass(frozen=True)
class Cut:
    """How ratings become windows: a task, and settings of its windows."""

    task: str
    settings: Any


@dataclass(frozen=True)
class Arm:
    """One configuration of the study: a shipped recipe and what differs from it."""

    name: str
    recipe: str
    overrides: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    """The protocols it is trained on; none names all of them that have no arms of their own."""


@dataclass(frozen=True)
class Study:
    """A published study, and what it should have been compared with."""

    title: str
    """Heads the report."""
    task: str
    """The task whose baselines are judged beside the arms, on the windows of every protocol."""
    protocols: Mapping[str, Cut]
    """Folder -> how the ratings are cut."""
    arms: tuple[Arm, ...]
    """In the order in which they are trained."""
    figures: Callable[[Mapping[str, Judgement]], str]
    """The judgements of a run in a few words."""
    markdown: Callable[[Sequence[Path]], str]
    """The result tables over run directories."""

    def protocols_of(self, arm: Arm) -> tuple[str, ...]:
        """The protocols that an arm is trained on."""
        taken = {name for other in self.arms for name in other.protocols}
        return arm.protocols or tuple(name for name in self.protocols if name not in taken)

    def judge_baselines(self, shards: Path, out: Path) -> dict[str, dict[str, Judgement]]:
        """Write a run directory in `out` for each baseline that can be fitted here.

        Returns name -> split -> Judgement; nothing where all are complete, or where the shards have
        no evaluation split.
        """
        of_task = tasks.data_of(self.task).baselines
        data = manifest.read(shards)
        if of_task is None or not any(data.num_windows(split) for split in baselines.EVALUATED):
            return {}
        chosen = of_task.installed()
        if all(RunDirectory(out / name).is_complete for name in chosen):
            return {}
        return baselines.judge_all(of_task, shards, out, chosen, overwrite=True)


def on_final_split(splits: Mapping[str, Judgement], shown: Mapping[str, FigureName]) -> str:
    """Figures of a run's last split in a few words, which `shown` gives: `test P@5 0.1234`."""
    split = "test" if "test" in splits else "validation"
    words = [f"{word} {splits[split].value(name):.4f}" for word, name in shown.items()]
    return " ".join([split, *words])
