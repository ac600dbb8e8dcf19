"""What a study is: arms, the protocols that they are judged on, and how its results are told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    judge_baselines: Callable[[Path, Path], dict[str, dict[str, Any]]]
    """Shards and a folder for run directories -> name -> split -> Judgement; what is complete is
    not judged again, and nothing is returned then."""
    figures: Callable[[dict[str, Any]], str]
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


def on_final_split(splits: Mapping[str, Any], ranking: str, shown: Mapping[str, str]) -> str:
    """Figures of a run's last split in a few words: `test P@5 0.1234`; `shown` maps words to them.

    `ranking` is the key of a Judgement under which the figures stand.
    """
    split = "test" if "test" in splits else "validation"
    figures = splits[split][ranking]
    return " ".join([split, *(f"{word} {figures[name]:.4f}" for word, name in shown.items())])
