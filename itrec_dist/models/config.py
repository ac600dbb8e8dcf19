"""The interface of a model's settings to the rest of the package."""

from typing import ClassVar, Protocol, runtime_checkable

from torch import nn

from itrec_dist.data.manifest import Manifest, SampleKind
from itrec_dist.data.spec import DataSpec


@runtime_checkable
class ModelConfig(Protocol):
    """The settings of one kind of model: a frozen dataclass with the field `kind`.

    A class that inherits from this one gets the defaults below.
    """

    task: ClassVar[str]
    """The folder of `tasks/` that trains it."""

    item_embedding: ClassVar[str | None] = None
    """Dotted name of the parameter with the item vectors [V, D] (row 0 is padding), used for warm
    starts from and for other runs; None if there is none."""

    samples: ClassVar[SampleKind] = "windows"
    """The samples that it is made for, which decide the default of `training.monitor`."""

    default_loss: ClassVar[str | None] = None
    """Its loss unless another one is chosen; None takes the first of the task's losses."""

    @property
    def kind(self) -> str:
        """Its name in recipes, the same in every instance."""

    @property
    def sparse_gradients(self) -> bool:
        """Whether its embeddings get sparse gradients, which not every optimiser supports."""
        return False

    @property
    def learns_ahead(self) -> bool:
        """Whether it can learn from several events that follow a position of a history."""
        return True

    @property
    def uses_times(self) -> bool:
        """Whether it needs `times_BL` and `target_time_B`, which are not read for other models."""
        return False

    @property
    def uses_time_of_query(self) -> bool:
        """Whether it needs to know when the event happens that it predicts: `target_time_B`."""
        return False

    @property
    def event_features(self) -> tuple[str, ...]:
        """The columns of events that it is told, of those in the shards."""
        return ()

    @property
    def needs_whole_items(self) -> str | None:
        """The setting by which it needs all item vectors in one place; None if they may be sharded.

        Such a model makes them by `models/parts/inputs.py`.
        """
        return f"model.kind={self.kind}"

    @property
    def item_width(self) -> int | None:
        """Width of `item_embedding`; None if it has none."""
        return None

    def build(self, spec: DataSpec) -> nn.Module:
        """The model, with its initial weights drawn from torch's global generator."""

    def label(self, loss: str) -> str:
        """A name that sets it apart, with the loss it is trained on, from other arms of a study."""

    def check(self, data: Manifest) -> None:
        """Refuse data that it cannot be trained on.

        Raises:
            ConfigError: the message names the setting and what the data lacks.
        """
