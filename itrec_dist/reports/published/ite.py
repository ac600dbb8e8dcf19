"""The results of the ITE paper, and the check whether they are comparable with ours.

Source: Tor Nitayanont, "Informative Transformer Encoder for Movie Recommendation Task", section
5.4 (results) and 5.1 (data). The paper trains once on 90 % of the windows of MovieLens 1M,
evaluates on the other 10 % after every epoch and prints the highest value; seen items are not
masked.
"""

from typing import Any

from itrec_dist.data.manifest import Manifest
from itrec_dist.metrics.metric import FigureName

SOURCE = "Nitayanont, section 5.4"

ACCURACY_1 = FigureName("unmasked", "precision", 5)
ACCURACY_2 = FigureName("unmasked", "hit_rate", 5)
"""Its two metrics, from section 5.3."""

_NAMES = {ACCURACY_1.key: "Accuracy 1", ACCURACY_2.key: "Accuracy 2"}

PRINTED: dict[tuple[str, str], dict[str, float]] = {
    ("ce", "both"): {ACCURACY_1.key: 0.0963, ACCURACY_2.key: 0.3623},
    ("bce", "both"): {ACCURACY_1.key: 0.1185, ACCURACY_2.key: 0.4228},
    ("bce", "user"): {ACCURACY_1.key: 0.1183, ACCURACY_2.key: 0.4226},
    ("bce", "movie"): {ACCURACY_1.key: 0.1186, ACCURACY_2.key: 0.4228},
    ("bce", "none"): {ACCURACY_1.key: 0.1135, ACCURACY_2.key: 0.4112},
}
"""(loss, side information) -> `metric@cutoff` -> highest validation value."""

LOSSES = ("ce", "bce", "softmax")
SIDES = ("none", "user", "movie", "both")

_USERS, _ITEMS, _WINDOWS = 5958, 1000, 69028
_SETTINGS = {"top_items": 1000, "min_user_events": 15, "stride": 10}


def name(figure: FigureName) -> str | None:
    """The paper's name of a metric: "Accuracy 1", "Accuracy 2" or None."""
    return _NAMES.get(figure.key)


def applies(manifest: Manifest | None) -> bool:
    """Whether these are the paper's windows: MovieLens 1M, cut and split as in section 5.1.

    The counts distinguish MovieLens 1M from generated data in the same file format.
    """
    if manifest is None:
        return False
    windows = sum(manifest.num_windows(split) for split in manifest.splits)
    return (
        manifest.source.get("format") == "ml-1m"
        and manifest.protocol == "random_windows"
        and (manifest.input_length, manifest.target_length) == (10, 5)
        and (manifest.num_users, manifest.num_items, windows) == (_USERS, _ITEMS, _WINDOWS)
        and all(manifest.settings.get(key, value) == value for key, value in _SETTINGS.items())
    )


def arm(config: dict[str, Any]) -> tuple[str, str] | None:
    """The (loss, side information) of a configuration, if the paper has this arm.

    None for other models, and for those that extend the paper's, such as by the repeat bias.
    """
    loss, model = config.get("loss"), config.get("model")
    loss = loss.get("kind") if isinstance(loss, dict) else loss
    if not isinstance(model, dict) or model.get("kind", "ite") != "ite" or model.get("repeat_bias"):
        return None
    side = model.get("side_information")
    return (loss, side) if loss in LOSSES and side in SIDES else None


def printed(config: dict[str, Any]) -> dict[str, float]:
    """The paper's results for this configuration; empty if the paper does not have this arm."""
    key = arm(config)
    return PRINTED.get(key, {}) if key else {}
