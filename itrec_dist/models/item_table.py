"""The interface of a ranking model: it encodes queries, and an item table scores them.

A ranking model is a module with `encode(batch)` and `item_table()`. Losses and rankings use only
these two, so neither depends on the kind of model, and the scores of the whole catalogue, [N, C],
are computed only on request.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.losses import loss
from itrec_dist.models.chosen_dots import chosen_dots, dots

# Rankings are defined by scores computed in these blocks: a product over other columns may round
# differently. Measured with torch 2.13 in float32 on a CPU with AVX-512, with one and two threads:
# blocks of 64, 100, 1,000, 4,096 and 16,384 columns were bit-identical to one product over all
# columns, for 999 to 27,001 items, widths of 64 to 128 and 1 to 1,024 rows. A last block of one
# column was not (1 score in 10,000 differed), nor blocks of an odd width with a few rows, nor
# blocks of 7 columns (most scores differed).
BLOCK = 16_384
"""Items in a block of scores."""

_NARROWEST = 64
"""A last block of fewer items is merged into the one before it."""


@dataclass
class Queries:
    """N positions from which the next item is predicted; one per window in evaluation.

    `hidden_ND` are hidden states; `bias_NJ` is added to the scores of the items `bias_ids_NJ`
    (padding ids are ignored; an item that occurs twice gets both).
    """

    hidden_ND: Tensor
    bias_ids_NJ: Tensor | None = None
    bias_NJ: Tensor | None = None


@dataclass
class ItemTable:
    """A view over the parameters that hold the items' output vectors and their biases.

    Created inside each forward, where engines gather sharded parameters. Products are float32 under
    any autocast: the 8 bits of bf16 would tie many of a catalogue's scores.
    """

    weight_CD: Tensor
    bias_C: Tensor | None = None
    _kept: tuple[loss.Queries, Tensor] | None = field(default=None, init=False, repr=False)

    @property
    def num_items(self) -> int:
        """Size of the catalogue, C."""
        return self.weight_CD.shape[0]

    def all_scores(self, queries: loss.Queries) -> Tensor:
        """Scores of every item, float32 [N, C]; column c is item c + 1."""
        return self.block(queries, 0, self.num_items)

    def blocks(self, queries: loss.Queries, size: int = BLOCK) -> Iterator[Tensor]:
        """The same scores in blocks of `size` columns, in order of ids; never modify them in place.

        The last block is narrower, or a little wider where it would be very narrow.
        """
        starts = list(range(0, max(1, self.num_items), size))
        if len(starts) > 1 and self.num_items - starts[-1] < min(size, _NARROWEST):
            starts.pop()
        if len(starts) == 1 and not torch.is_grad_enabled():
            # Evaluation asks twice per batch, for the loss and for the ranking.
            if self._kept is None or self._kept[0] is not queries:
                self._kept = (queries, self.all_scores(queries))
            yield self._kept[1]
            return
        for start, stop in zip(starts, [*starts[1:], self.num_items], strict=True):
            yield self.block(queries, start, stop)

    def block(self, queries: loss.Queries, start: int, stop: int) -> Tensor:
        """Scores of the items `start + 1 .. stop`, float32 [N, stop - start]."""
        weight_WD, bias_W = self._rows(start, stop)
        with torch.autocast(weight_WD.device.type, enabled=False):
            scores_NW = F.linear(
                queries.hidden_ND.float(), weight_WD.float(),
                None if bias_W is None else bias_W.float(),
            )  # fmt: skip
            if queries.bias_ids_NJ is None or queries.bias_NJ is None or start == stop:
                return scores_NW
            columns_NJ = queries.bias_ids_NJ.long() - 1 - start
            is_inside_NJ = (columns_NJ >= 0) & (columns_NJ < stop - start)
            added_NJ = queries.bias_NJ.float() * is_inside_NJ
            return scores_NW.scatter_add(1, columns_NJ.clamp(0, stop - start - 1), added_NJ)

    def scores_of(self, queries: loss.Queries, ids_NK: Tensor) -> Tensor:
        """Scores of chosen items of each query, float32 [N, K]; 0 where the id is padding."""
        weight_XD, bias_X, columns_NK = self._chosen(ids_NK)
        with torch.autocast(weight_XD.device.type, enabled=False):
            scores_NK = chosen_dots(queries.hidden_ND, weight_XD, columns_NK)
            scores_NK = _plus_bias(scores_NK, bias_X, columns_NK)
            scores_NK = _plus_added(scores_NK, queries, ids_NK)
        return scores_NK.masked_fill(ids_NK == PAD, 0.0)

    def scores_of_shared(
        self, queries: loss.Queries, ids_NK: Tensor, shared_ids_GM: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Scores of chosen items of each query, and of items chosen for its group.

        Query n is of group n mod G, and no group's item is padding. All vectors are looked up at
        once, since each look-up has a gradient as large as the table. Shapes: [N, K] and [N, M].
        """
        ids_X = torch.cat([ids_NK.flatten(), shared_ids_GM.flatten()])
        weight_CD, bias_C, columns_X = self._chosen(ids_X)
        hidden_ND = queries.hidden_ND.float()
        own = ids_NK.numel()
        with torch.autocast(weight_CD.device.type, enabled=False):
            vectors_XD = F.embedding(columns_X, weight_CD).float()
            vectors_NKD = vectors_XD[:own].unflatten(0, ids_NK.shape)
            scores_NK = dots(hidden_ND, vectors_NKD)
            scores_NM = _by_group(hidden_ND, vectors_XD[own:].unflatten(0, shared_ids_GM.shape))
            if bias_C is not None:
                bias_X = F.embedding(columns_X, bias_C.unsqueeze(1)).squeeze(1).float()
                scores_NK = scores_NK + bias_X[:own].unflatten(0, ids_NK.shape)
                bias_GM = bias_X[own:].unflatten(0, shared_ids_GM.shape)
                scores_NM = scores_NM + loss.of_queries(bias_GM, len(hidden_ND))
            if queries.bias_ids_NJ is not None:
                scores_NK = _plus_added(scores_NK, queries, ids_NK)
                shared_ids_NM = loss.of_queries(shared_ids_GM, len(hidden_ND))
                scores_NM = _plus_added(scores_NM, queries, shared_ids_NM)
        return scores_NK.masked_fill(ids_NK == PAD, 0.0), scores_NM

    def _rows(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """The vectors and biases of the items `start + 1 .. stop`."""
        if stop - start == self.num_items:
            return self.weight_CD, self.bias_C
        return self.weight_CD[start:stop], None if self.bias_C is None else self.bias_C[start:stop]

    def _chosen(self, ids: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Vectors and biases that hold those of some ids, and the places of these; of any for PAD.

        Of a table in one place these are all; a sharded one has others.
        """
        return self.weight_CD, self.bias_C, (ids.long() - 1).clamp(min=0)

    @torch.no_grad()
    def set_bias(self, bias_C: Tensor) -> None:
        """Set the initial bias of each item; does nothing if the table has no bias."""
        if self.bias_C is not None:
            self.bias_C.copy_(bias_C)


def _by_group(hidden_ND: Tensor, vectors_GMD: Tensor) -> Tensor:
    """The products of each query with the vectors of its group, [N, M]."""
    groups, number, _ = vectors_GMD.shape
    size = -(-len(hidden_ND) // groups)
    padded_ND = F.pad(hidden_ND, (0, 0, 0, size * groups - len(hidden_ND)))
    hidden_GSD = padded_ND.unflatten(0, (size, groups)).transpose(0, 1)
    scores_SGM = torch.bmm(hidden_GSD, vectors_GMD.transpose(1, 2)).transpose(0, 1)
    return scores_SGM.reshape(size * groups, number)[: len(hidden_ND)]


def _plus_bias(scores_NK: Tensor, bias_C: Tensor | None, columns_NK: Tensor) -> Tensor:
    if bias_C is None:
        return scores_NK
    if bias_C.device.type == "cpu":  # an embedding's gradient takes four times as long there
        bias_NK = bias_C.gather(0, columns_NK.flatten()).view(columns_NK.shape)
    else:  # elsewhere the gradients of others are not deterministic
        bias_NK = F.embedding(columns_NK, bias_C.unsqueeze(1)).squeeze(2)
    return scores_NK + bias_NK.float()


def _plus_added(scores_NK: Tensor, queries: loss.Queries, ids_NK: Tensor) -> Tensor:
    """With what a query adds to the scores of some of its items; ids may be [1, K], for all."""
    if queries.bias_ids_NJ is None or queries.bias_NJ is None:
        return scores_NK
    is_same_NKJ = ids_NK.unsqueeze(2) == queries.bias_ids_NJ.unsqueeze(1)
    return scores_NK + (queries.bias_NJ.float().unsqueeze(1) * is_same_NKJ).sum(dim=2)


@runtime_checkable
class StepModel(Protocol):
    """What a ranking model has besides if it predicts the next item at every position."""

    def encode_steps(self, batch: Batch) -> Tensor:
        """The hidden state of every position, [B, L, D], which depends on no later position.

        That of a position is what `encode` would give for the events up to it. Positions of padding
        hold anything finite.
        """


@dataclass
class ChosenSteps:
    """The positions of a batch that a model learns from, by its own choice."""

    hidden_BLD: Tensor
    """The hidden states of as many positions as the model likes."""
    target_ids_BL: Tensor
    """The item to predict at each of them; PAD where nothing is learned. Those that are chosen
    stand for all targets of the batch: their losses weigh as much together."""
    further_ids_BLK: Tensor | None = None
    """The events after each target, if several ahead are learned from; padded with PAD."""


@runtime_checkable
class StepChooser(Protocol):
    """What a ranking model has instead if it chooses what it learns from a history."""

    def choose_steps(self, batch: Batch) -> ChosenSteps:
        """Choose among the targets of a training batch, which has `step_target_ids_BL`.

        What is drawn is drawn from torch's generator of the batch's device.
        """


@runtime_checkable
class RankingModel(Protocol):
    """What the next-items task requires of a model, besides being a torch module."""

    def encode(self, batch: Batch) -> Queries:
        """One query per window of the batch."""

    def item_table(self) -> ItemTable:
        """The items' output vectors; called inside the task's forward."""
