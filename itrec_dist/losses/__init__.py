"""The losses: one file each.

A file `some_name.py` holds one frozen dataclass `SomeNameConfig`, which is both the settings and
the loss (a `RankingLoss` or a `RatingLoss` of `losses/loss.py`); no other file needs to change.
Losses are per query or window; weighting and averaging belong to the training loop.

Those of ours also have a short name, which is given here: `losses.GBCE(num_negatives=64)`.
"""

from typing import TYPE_CHECKING, Any

from itrec_dist.config.registry import Registry
from itrec_dist.losses.config import LossConfig

if TYPE_CHECKING:
    from itrec_dist.losses.bce import BceConfig as BCE
    from itrec_dist.losses.ce import CeConfig as CE
    from itrec_dist.losses.contrast import ContrastConfig as Contrast
    from itrec_dist.losses.gbce import GbceConfig as GBCE
    from itrec_dist.losses.mse import MseConfig as MSE
    from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig as SampledSoftmax
    from itrec_dist.losses.softmax import SoftmaxConfig as Softmax

__all__ = [
    "BCE",
    "CE",
    "GBCE",
    "LOSSES",
    "MSE",
    "Contrast",
    "SampledSoftmax",
    "Softmax",
]

LOSSES: Registry[type[LossConfig]] = Registry(
    "loss", "itrec_dist.losses", group="itrec_dist.losses", suffix="Config"
)
"""Name -> class."""

_KINDS = {
    "BCE": "bce",
    "CE": "ce",
    "Contrast": "contrast",
    "GBCE": "gbce",
    "MSE": "mse",
    "SampledSoftmax": "sampled_softmax",
    "Softmax": "softmax",
}
"""Public name of the settings -> kind."""


def __getattr__(name: str) -> Any:
    if name in _KINDS:
        return LOSSES[_KINDS[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
