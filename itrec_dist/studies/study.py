"""What a study is: arms, the protocols that they are judged on, and how its results are told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks.next_items.windows import WindowConfig
from itrec_dist.tasks.ratings.windows import RatingWindowConfig


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
    protocols: Mapping[str, WindowConfig | RatingWindowConfig]
    """Folder -> how the ratings are cut."""
    arms: tuple[Arm, ...]
    """In the order in which they are trained."""
    judge_baselines: Callable[[Path, Path], dict[str, dict[str, Judgement]]]
    """Shards and a folder for run directories -> name -> split -> Judgement; what is complete is
    not judged again, and nothing is returned then."""
    figures: Callable[[Mapping[str, Judgement]], str]
    """The judgements of a run in a few words."""
    markdown: Callable[[Sequence[Path]], str]
    """The result tables over run directories."""

    def protocols_of(self, arm: Arm) -> tuple[str, ...]:
        """The protocols that an arm is trained on."""
        taken = {name for other in self.arms for name in other.protocols}
        return arm.protocols or tuple(name for name in self.protocols if name not in taken)


def all_judged(out: Path, names: Sequence[str]) -> bool:
    """Whether the runs of all those baselines stand in a folder, complete."""
    return all(RunDirectory(out / name).is_complete for name in names)


def on_final_split(splits: Mapping[str, Judgement], shown: Mapping[str, FigureName]) -> str:
    """Figures of a run's last split in a few words, which `shown` gives: `test P@5 0.1234`."""
    split = "test" if "test" in splits else "validation"
    words = [f"{word} {splits[split].value(name):.4f}" for word, name in shown.items()]
    return " ".join([split, *words])
