"""The results of the rating-prediction study, and the check whether they are comparable with ours.

Source: Phan, Solomon, Li and Coffin, "Predicting Movie Recommendations by Leveraging Deep Learning
and MovieLens Data (Part 2)". Each result there is the lowest RMSE over all epochs on the reported
set, and the systems were evaluated on different splits: the matrix factorisations on ratings held
out at random, the transformers on windows held out at random, 85/15 and 80/10/10.
"""

from dataclasses import dataclass
from typing import Any

from itrec_dist.data.manifest import Manifest

SOURCE = "Phan et al., part 2"

REMARK = (
    "The source selects each system's best epoch on the same set that it reports, and its systems "
    "were evaluated on different splits: its printed figures cannot be compared with each other. "
    "Ours can: all models of a table are evaluated on the same held-out ratings, with the best "
    "epoch selected on validation."
)

_RATINGS = 1_000_209  # of MovieLens 1M, as read


@dataclass(frozen=True)
class Printed:
    """One published result."""

    system: str
    rmse: float
    epoch: int


BASELINE = Printed("dot-product baseline", 0.877, 30)
MODEL_1 = Printed("Model 1", 0.873, 27)
MODEL_2 = Printed("Model 2", 0.858, 20)
BST_BASELINE = Printed("BST baseline", 0.961, 4)
BST_TUNED = Printed("tuned BST", 0.920, 26)
SYSTEMS = (BASELINE, MODEL_1, MODEL_2, BST_BASELINE, BST_TUNED)
"""All systems with a published result."""


def applies(manifest: Manifest | None) -> bool:
    """Whether these are the ratings of MovieLens 1M."""
    if manifest is None or not manifest.steps:
        return False
    is_whole = manifest.steps[0].get("ratings") == _RATINGS
    return is_whole and manifest.source.get("format") == "ml-1m"


def printed(config: dict[str, Any]) -> Printed | None:
    """The published result for a configuration; None if the source does not have this system."""
    model = config.get("model")
    if not isinstance(model, dict):
        return None
    kind = model.get("kind")
    if kind == "dot_product":
        return MODEL_2 if model.get("scaled") else BASELINE
    if kind == "neural_mf":
        return MODEL_1
    if kind != "bst" or model.get("biases"):
        return None
    shape = (model.get("num_blocks"), model.get("num_heads"), model.get("dropout"))
    if shape == (1, 2, 0.1):
        return BST_BASELINE
    return BST_TUNED if shape == (2, 8, 0.5) else None
