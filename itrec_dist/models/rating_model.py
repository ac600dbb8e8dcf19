"""The base of all rating models: known users and items, and the damped biases for the others.

A user or item is known if it has a training rating. All other ids, also those beyond the model's
tables, are mapped to id 0, whose embedding is and stays zero. A model that knows users and items
by their ids alone falls back on the damped biases

    mean + user offset + item offset

in which the offset of an unknown user or item is 0. Source of the biases: Koren, Factor in the
Neighbors, section 2.1 (the offsets are estimated one after the other, there equation 3).
"""

import torch
from torch import nn

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.data.training_ratings import TrainingRatings
from itrec_dist.errors import ConfigError

_ITEM_DAMPING = 10.0  # pseudo-ratings at the mean, added to an item's own
_USER_DAMPING = 5.0


def refuse_unrated(data: Manifest, kind: str) -> None:
    """Refuse shards without ratings or without their scale.

    Raises:
        ConfigError: the message says what to do.
    """
    if not data.has_ratings:
        raise ConfigError(
            f"model.kind={kind} predicts ratings, the shards have none: window data with ratings, "
            "or train another kind of model"
        )
    if not data.rating_min < data.rating_max:
        raise ConfigError(
            f"model.kind={kind} needs the rating scale, which the shards do not record: window the "
            "data again with itrec window ratings"
        )


class RatingModel(nn.Module):
    """Base of the rating models: `forward(batch, item_ids_BN) -> (ratings_BN, penalty_B)`.

    Any number N of items can be scored for each window. The penalty is what the training loss of
    each window adds for the size of its weights; None if there is none.
    """

    mean: torch.Tensor
    user_offset_U: torch.Tensor
    item_offset_V: torch.Tensor
    is_user_U: torch.Tensor
    is_item_V: torch.Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        users, items = spec.num_users + 1, spec.num_items + 1
        self.register_buffer("mean", torch.tensor(spec.rating_mean))
        self.register_buffer("user_offset_U", torch.zeros(users))
        self.register_buffer("item_offset_V", torch.zeros(items))
        self.register_buffer("is_user_U", torch.zeros(users, dtype=torch.bool))
        self.register_buffer("is_item_V", torch.zeros(items, dtype=torch.bool))

    def forward(
        self, batch: Batch, item_ids_BN: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Predicted ratings, [B, N], on the scale but not clipped to it, and the penalty."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_statistics(self, ratings: TrainingRatings) -> None:
        """Compute mean, offsets and the known users and items from the training ratings."""
        users_R, items_R = ratings.user_ids_R, ratings.item_ids_R
        mean = ratings.ratings_R.double().mean()
        rest_R = ratings.ratings_R.double() - mean
        item_V = _damped_means(items_R, rest_R, len(self.item_offset_V), _ITEM_DAMPING)
        rest_R = rest_R - item_V[items_R]
        user_U = _damped_means(users_R, rest_R, len(self.user_offset_U), _USER_DAMPING)
        self.mean.copy_(mean)
        self.item_offset_V.copy_(item_V)
        self.user_offset_U.copy_(user_U)
        self.is_user_U[users_R] = True
        self.is_item_V[items_R] = True

    def known_users(self, user_ids: torch.Tensor) -> torch.Tensor:
        """The ids, with 0 for users without a training rating."""
        return _known(user_ids, self.is_user_U)

    def known_items(self, item_ids: torch.Tensor) -> torch.Tensor:
        """The ids, with 0 for items without a training rating."""
        return _known(item_ids, self.is_item_V)

    def biases(self, user_ids_B: torch.Tensor, item_ids_BN: torch.Tensor) -> torch.Tensor:
        """The damped biases of known ids, [B, N]; unknown ones are 0."""
        offsets_BN = self.item_offset_V[item_ids_BN] + self.user_offset_U[user_ids_B].unsqueeze(1)
        return self.mean + offsets_BN

    def or_biases(
        self, ratings_BN: torch.Tensor, user_ids_B: torch.Tensor, item_ids_BN: torch.Tensor
    ) -> torch.Tensor:
        """The predictions, replaced by the biases where user or item is unknown."""
        is_known_BN = (user_ids_B != PAD).unsqueeze(1) & (item_ids_BN != PAD)
        return torch.where(is_known_BN, ratings_BN.float(), self.biases(user_ids_B, item_ids_BN))


def _known(ids: torch.Tensor, is_known: torch.Tensor) -> torch.Tensor:
    ids = torch.where(ids < len(is_known), ids, PAD)
    return torch.where(is_known[ids], ids, PAD)


def _damped_means(
    ids_R: torch.Tensor, values_R: torch.Tensor, size: int, damping: float
) -> torch.Tensor:
    sums = torch.zeros(size, dtype=torch.float64).index_add_(0, ids_R, values_R)
    counts = torch.bincount(ids_R, minlength=size)
    return sums / (counts + damping)
