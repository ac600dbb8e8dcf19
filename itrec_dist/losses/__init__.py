"""The losses: one file each.

A file `some_name.py` holds one frozen dataclass `SomeNameConfig`, which is both the settings and
the loss (a `RankingLoss` or a `RatingLoss` of `losses/loss.py`); no other file needs to change.
Losses are per query or window; weighting and averaging belong to the training loop.
"""

from itrec_dist.config.registry import Registry
from itrec_dist.losses.config import LossConfig

LOSSES: Registry[type[LossConfig]] = Registry(
    "loss", "itrec_dist.losses", group="itrec_dist.losses", suffix="Config"
)
"""Name -> class."""
