"""What a user has seen, and which of it is left out of a ranking.

Evaluation and `recommend` both ask here, so that a model is judged as it serves.
"""

import torch

from itrec_dist.data.schema import Batch, Seen
from itrec_dist.errors import ConfigError


def left_out(batch: Batch, seen: Seen | None) -> torch.Tensor:
    """The ids to leave out of each row's ranking, [B, S], padded with PAD.

    None leaves out all that the row holds: the history, or else the input.

    Raises:
        ConfigError: the history is asked for, and rows do not hold it.
    """
    if seen == "none":
        return batch.item_ids_BL[:, :0]
    if seen == "input" or (seen is None and batch.seen_ids_BS is None):
        return batch.item_ids_BL
    if batch.seen_ids_BS is None:
        refuse_without_history(seen, "windows", "seen")
    assert batch.seen_ids_BS is not None
    return batch.seen_ids_BS


def refuse_without_history(seen: Seen | None, samples: str, option: str) -> None:
    """Refuse to leave out a history that samples of this kind do not hold.

    Raises:
        ConfigError: names the option and what can be given.
    """
    if seen == "history" and samples == "windows":
        raise ConfigError(
            f"{option}=history is for histories, and these windows hold a user's input and not the "
            "events before it: give input or none, or window with --samples histories"
        )


def resolved(seen: Seen | None, samples: str) -> Seen:
    """What is left out of the masked ranking of samples of this kind."""
    return seen or ("history" if samples == "histories" else "input")
