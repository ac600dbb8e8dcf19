"""The settings that all transformers over histories share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import Manifest, SampleKind
from itrec_dist.data.schema import Batch
from itrec_dist.errors import ConfigError
from itrec_dist.models.parts.features import FeatureConfig
from itrec_dist.models.parts.pairs import Pairs, see_times, see_times_of_query


@dataclass(frozen=True)
class SequenceConfig(FeatureConfig):
    """The transformer's shape; each kind adds its own settings."""

    task: ClassVar[str] = "next_items"
    """It scores the catalogue."""
    samples: ClassVar[SampleKind] = "histories"
    """It learns from every position of a history."""
    default_loss: ClassVar[str | None] = "softmax"
    """One target at every position: the likelihood of the next item."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    num_layers: int = 2
    """Number of transformer layers."""
    num_heads: int = 1
    """Attention heads per layer; must divide the width."""
    dropout: float = field(default=0.2, metadata=CHANGEABLE)
    """Dropout on the input vectors and in the layers, 0 <= p < 1."""
    item_bias: bool = True
    """Add a learned score to each item, which starts at the training popularity."""
    temperature: float | None = None
    """Score items by the cosine of query and item vector, divided by this (0.05 as published with
    HSTU); null scores them by the product of the vectors, whatever their lengths."""
    linear_width: int | None = None
    """Add the scores of a linear model of the history, learned together with the transformer: a
    product of two matrices this wide; null adds none."""
    linear_decay: float = 0.8
    """In the linear model, weight of an event relative to the one after it, 0 < x <= 1."""
    linear_dropout: float = field(default=0.3, metadata=CHANGEABLE)
    """Dropout on the linear model's sum over the history, 0 <= p < 1."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together.

        Raises:
            ConfigError: names the setting.
        """
        for name in ("width", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name}={getattr(self, name)} must be at least 1")
        if self.width % self.num_heads:
            raise ConfigError(
                f"model.num_heads={self.num_heads} must divide model.width={self.width}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout={self.dropout} must be at least 0 and below 1")
        if self.temperature is not None and not self.temperature > 0:
            raise ConfigError(f"model.temperature={self.temperature} must be above 0, or null")
        self._refuse_impossible_linear()

    def _refuse_impossible_linear(self) -> None:
        if self.linear_width is not None and self.linear_width < 1:
            raise ConfigError(f"model.linear_width={self.linear_width} must be at least 1, or null")
        if not 0 < self.linear_decay <= 1:
            raise ConfigError(f"model.linear_decay={self.linear_decay} must be above 0, at most 1")
        if not 0 <= self.linear_dropout < 1:
            raise ConfigError(
                f"model.linear_dropout={self.linear_dropout} must be at least 0 and below 1"
            )

    @property
    def features_label(self) -> str:
        """What a label says about the inputs and about a linear model."""
        linear = "" if self.linear_width is None else f" + linear {self.linear_width}"
        return linear + super().features_label

    @property
    def needs_whole_items(self) -> str | None:
        """A linear model has tables of its own, and cosines need the lengths of all vectors."""
        if self.linear_width is not None:
            return f"model.linear_width={self.linear_width}"
        if self.temperature is not None:
            return f"model.temperature={self.temperature}"
        return super().needs_whole_items

    @property
    def item_width(self) -> int:
        """The width."""
        return self.width


@dataclass(frozen=True)
class TimedConfig(SequenceConfig):
    """The settings of transformers that know the times between events."""

    time_of_query: bool = False
    """Tell each position when the event that it is to predict happens, in training and when it is
    judged: another task than predicting from the past alone, named in every label."""

    @property
    def uses_times(self) -> bool:
        """It needs them; data without times has the same one for all events."""
        return True

    @property
    def uses_time_of_query(self) -> bool:
        """The setting, or the context of the same name."""
        return self.time_of_query or super().uses_time_of_query

    @property
    def pairs(self) -> Callable[[Batch], Pairs]:
        """What the blocks are told about pairs of events."""
        return see_times_of_query if self.time_of_query else see_times

    @property
    def query_note(self) -> str:
        """The end of a label."""
        return ", time of query" if self.time_of_query else ""

    def check(self, data: Manifest) -> None:
        """Refuse data without the configured features or times.

        Raises:
            ConfigError: the data has none.
        """
        super().check(data)
        if self.time_of_query and not data.has_times:
            raise ConfigError(
                "model.time_of_query=true needs the times of events, the shards have none: window "
                "the data with its timestamps, or leave it false"
            )


def refuse_below_one(multiplier: int) -> None:
    """Refuse an inner width of no widths.

    Raises:
        ConfigError: it is below 1.
    """
    if multiplier < 1:
        raise ConfigError(f"model.feedforward_multiplier={multiplier} must be at least 1")
