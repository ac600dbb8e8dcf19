"""The losses as settings: what `loss.kind` names."""

from dataclasses import dataclass
from typing import Literal, Protocol

from itrec_dist.losses import LossName


class LossConfig(Protocol):
    """The settings of one kind of loss: a frozen dataclass with the field `kind`."""

    @property
    def kind(self) -> LossName:
        """Its name in recipes, the same in every instance."""


@dataclass(frozen=True)
class BceConfig:
    """All targets as labels."""

    kind: Literal["bce"] = "bce"
    """Kind of loss."""


@dataclass(frozen=True)
class CeConfig:
    """The next item alone."""

    kind: Literal["ce"] = "ce"
    """Kind of loss."""


@dataclass(frozen=True)
class SoftmaxConfig:
    """All targets, one softmax."""

    kind: Literal["softmax"] = "softmax"
    """Kind of loss."""


@dataclass(frozen=True)
class MseConfig:
    """Squared error of predicted ratings."""

    kind: Literal["mse"] = "mse"
    """Kind of loss."""


@dataclass(frozen=True)
class ContrastConfig:
    """True against drawn neighbours."""

    kind: Literal["contrast"] = "contrast"
    """Kind of loss."""


LOSS_KINDS: dict[str, type[LossConfig]] = {
    "bce": BceConfig,
    "ce": CeConfig,
    "softmax": SoftmaxConfig,
    "mse": MseConfig,
    "contrast": ContrastConfig,
}
