"""The definition of a study: its arms, its evaluation protocols, and how results are shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itrec_dist import tasks
from itrec_dist.data import schema
from itrec_dist.data.manifest import Manifest, SampleKind
from itrec_dist.data.shards import fetch
from itrec_dist.data.windowing.task_windows import TaskWindows
from itrec_dist.errors import ConfigError
from itrec_dist.evaluation import baselines
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.metrics.metric import FigureName
from itrec_dist.storage import outputs
from itrec_dist.storage.uri import Uri
from itrec_dist.tasks import TASKS


@dataclass(frozen=True)
class Cut:
    """How ratings are cut into windows or histories: a task, and the settings of its samples."""

    task: str
    settings: Any
    samples: SampleKind = "windows"

    @property
    def windows(self) -> TaskWindows[Any]:
        """What cuts them."""
        return tasks.data_of(self.task).of(self.samples)


@dataclass(frozen=True)
class StudyArm:
    """One configuration of the study: a shipped recipe and overrides."""

    name: str
    recipe: str
    """Without the suffix where the study has several sets of recipes."""
    overrides: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    """The protocols it is trained on; empty means all that no other arm names."""


@dataclass(frozen=True)
class RecipeSets:
    """Two sets of recipes, told apart by their suffix: for long histories and for short ones."""

    long: str
    short: str
    boundary: float
    """Events per user from which on histories count as long."""

    def suffix(self, data: Manifest) -> str:
        """The set that fits the data."""
        kept = data.steps[-1]
        return self.long if kept["ratings"] >= self.boundary * kept["users"] else self.short


@dataclass(frozen=True)
class Study:
    """A published study, and the comparisons it lacks."""

    title: str
    """Title of the report."""
    task: str
    """The task whose baselines are evaluated too, on the windows of every protocol."""
    protocols: Mapping[str, Cut]
    """Folder -> how the ratings are cut."""
    arms: tuple[StudyArm, ...]
    """In the order in which they are trained."""
    figures: Callable[[Mapping[str, Judgement]], str]
    """Formats the main metrics of a run, given its judgements by split."""
    markdown: Callable[[Sequence[Path]], str]
    """The result tables over run directories."""
    sources: tuple[str, ...] = ()
    """The formats of ratings that it can be run on, such as those with user and movie features;
    empty for any."""
    recipes: RecipeSets | None = None
    """Its sets of recipes, if the arms have more than one."""

    def protocols_of(self, arm: StudyArm) -> tuple[str, ...]:
        """The protocols that an arm is trained on."""
        taken = {name for other in self.arms for name in other.protocols}
        return arm.protocols or tuple(name for name in self.protocols if name not in taken)

    def recipe_of(self, arm: StudyArm, shards: Uri | Path) -> str:
        """The name of the recipe that an arm is trained by on these shards."""
        if self.recipes is None:
            return arm.recipe
        return f"{arm.recipe}_{self.recipes.suffix(fetch.manifest_of(shards))}"

    def check_source(self, source: str) -> None:
        """Check that the study can be run on a format.

        Raises:
            ConfigError: the format lacks user or movie features.
        """
        if self.sources and source not in self.sources:
            raise ConfigError(
                f"the study needs user and movie features, {source!r} does not have both: "
                f"give --source {' or '.join(self.sources)}"
            )

    def compares_windows(self, data: Manifest) -> bool:
        """Whether its runs are compared window by window: where test windows are ranked."""
        return TASKS[self.task].ranks and bool(data.num_windows(schema.TEST))

    def judge_baselines(
        self, shards: Uri | Path, out: Uri | Path
    ) -> dict[str, dict[str, Judgement]]:
        """Write a run directory in `out` for each baseline that can be fitted here.

        Returns name -> split -> Judgement; empty if all are complete, or if the shards have no
        evaluation split.
        """
        of_task = tasks.data_of(self.task).baselines
        data = fetch.manifest_of(shards)
        if of_task is None or not any(data.num_windows(split) for split in baselines.EVALUATED):
            return {}
        chosen = of_task.default(data)
        needed = ["evaluation.json"]
        if self.compares_windows(data):
            needed.append("test_windows.parquet")
        files = (outputs.below(out, f"{name}/{file}") for name in chosen for file in needed)
        if all(outputs.is_file(file) for file in files):
            return {}
        return baselines.judge_all(of_task, shards, out, chosen, overwrite=True)


def on_final_split(splits: Mapping[str, Judgement], shown: Mapping[str, FigureName]) -> str:
    """Formats metrics of a run's last split, labelled as in `shown`: `test P@5 0.1234`."""
    split = "test" if "test" in splits else "validation"
    words = [f"{word} {splits[split].value(name):.4f}" for word, name in shown.items()]
    return " ".join([split, *words])
