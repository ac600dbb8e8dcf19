"""What the rest of the package may ask of a model's settings and of a model."""

from typing import ClassVar, Protocol, runtime_checkable

from itrec_dist.data.manifest import Manifest


@runtime_checkable
class ModelConfig(Protocol):
    """The settings of one kind of model: a frozen dataclass with the field `kind`."""

    task: ClassVar[str]
    """The file of `tasks/` that trains it."""

    uses_times: ClassVar[bool] = False
    """Whether it is given `times_BL` and `target_time_B`, which other models do not pay for."""

    @property
    def kind(self) -> str:
        """Its name in recipes, the same in every instance."""

    def label(self, loss: str) -> str:
        """What distinguishes it from other arms of a study, with the loss it is trained on."""

    def check(self, data: Manifest) -> None:
        """Refuse data that it cannot be trained on.

        Raises:
            ConfigError: names the setting and what the data lacks.
        """
