"""The interfaces of losses and of their inputs.

A ranking loss never receives the scores of the whole catalogue: it asks the item table for what it
needs, all scores, blocks of them, or those of chosen items.

Letters: N queries, C items of the catalogue, K targets or chosen items of a query, W items of a
block, D width, J items of a query whose scores are biased, G groups of queries, M items of a group.
Item ids are 1 .. C; 0 is padding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class Queries(Protocol):
    """Positions from which the next item is predicted."""

    hidden_ND: Tensor
    """Hidden states, float32."""

    bias_ids_NJ: Tensor | None
    """Items whose scores get an extra term in one query; None if there are none."""

    bias_NJ: Tensor | None
    """The extra terms; an item that occurs twice gets both."""


class ItemTable(Protocol):
    """The items' output vectors: turns queries into float32 scores, the higher the likelier."""

    weight_CD: Tensor
    """The vectors."""

    bias_C: Tensor | None
    """A term of each item's scores; None if there is none."""

    @property
    def num_items(self) -> int:
        """Size of the catalogue, C."""

    def all_scores(self, queries: Queries) -> Tensor:
        """Scores of every item, [N, C]; column c is item c + 1."""

    def blocks(self, queries: Queries) -> Iterator[Tensor]:
        """The same scores in blocks of consecutive items, [N, W] each, in order of ids."""

    def scores_of(self, queries: Queries, ids_NK: Tensor) -> Tensor:
        """Scores of chosen items of each query, [N, K]; 0 where the id is padding."""

    def scores_of_shared(
        self, queries: Queries, ids_NK: Tensor, shared_ids_GM: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores of chosen items of each query, and of items chosen for its group.

        Query n is of group n mod G, and no group's item is padding. Shapes: [N, K] and [N, M].
        """


def of_queries(values_GM: Tensor, num_queries: int) -> Tensor:
    """The values of each query's group, [N, M]: query n is of group n mod G."""
    return values_GM.repeat(-(-num_queries // len(values_GM)), 1)[:num_queries]


@runtime_checkable
class RankingLoss(Protocol):
    """A loss of predicted next items."""

    @property
    def kind(self) -> str:
        """Its name in recipes."""

    def per_query(self, queries: Queries, target_ids_NK: Tensor, table: ItemTable) -> Tensor:
        """Loss of each query, [N].

        A target that is padding adds nothing; a query without any target has loss 0.
        """

    def initial_bias(self, target_counts_C: Tensor, num_windows: int) -> Tensor:
        """Output bias under which an untrained model predicts the training popularity, [C]."""


@runtime_checkable
class CountingLoss(Protocol):
    """The settings of a loss of next items that needs to know how often items are targets."""

    @property
    def kind(self) -> str:
        """Its name in recipes."""

    def for_counts(self, target_counts_C: Tensor) -> RankingLoss:
        """The loss itself, on data whose training targets have these counts."""


@dataclass(frozen=True)
class Held:
    """What a loss holds of the scores while it is computed and differentiated."""

    form: str
    """In words, such as "256 drawn items"."""
    bytes: int
    """An estimate of its memory."""


@runtime_checkable
class MeasuredLoss(Protocol):
    """A loss that knows its memory."""

    def held(self, num_queries: int, num_items: int, device: torch.device) -> Held:
        """What it holds for so many queries at a time."""


@runtime_checkable
class RatingLoss(Protocol):
    """A loss of predicted ratings."""

    @property
    def kind(self) -> str:
        """Its name in recipes."""

    def per_window(self, predicted_BK: Tensor, ratings_BK: Tensor) -> Tensor:
        """Loss of each window, [B], from the predicted and the given ratings of its targets."""
