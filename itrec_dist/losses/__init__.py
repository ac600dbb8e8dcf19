"""The losses: one file each.

A file `some_name.py` holds one frozen dataclass `SomeNameConfig`: its settings, and the loss that
they describe (a `RankingLoss` or a `RatingLoss` of `losses/loss.py`). Nothing else has to be told
about it. Losses are per query or window; weighting and averaging belong to the loop.
"""

from itrec_dist.config.registry import Registry
from itrec_dist.losses.config import LossConfig

LOSSES: Registry[type[LossConfig]] = Registry(
    "loss", "itrec_dist.losses", group="itrec_dist.losses", suffix="Config"
)
"""Name -> class."""
