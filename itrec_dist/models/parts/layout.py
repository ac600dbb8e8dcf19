"""Where the padding of a batch stands.

Batches are padded on the left. Causal models turn every row round until its events stand first:
an event then never sees the padding behind it, so that attention needs no mask of its own, which
is what its fast kernels want.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F

from itrec_dist.data.schema import PAD, Batch


def events_first(batch: Batch) -> Batch:
    """The batch with the padding behind the events of every row."""
    place_BL = _turned(batch.item_ids_BL.shape, num_padding(batch.item_ids_BL))
    times_BL, codes_BLG = batch.times_BL, batch.event_features_BLG
    if codes_BLG is not None:
        codes_BLG = codes_BLG.gather(1, place_BL[:, :, None].expand_as(codes_BLG))
    return replace(
        batch,
        item_ids_BL=batch.item_ids_BL.gather(1, place_BL),
        ratings_BL=batch.ratings_BL.gather(1, place_BL),
        times_BL=None if times_BL is None else times_BL.gather(1, place_BL),
        event_features_BLG=codes_BLG,
    )


def padding_first(hidden_BLD: torch.Tensor, num_padding_B: torch.Tensor) -> torch.Tensor:
    """Hidden states in the order of the batch again."""
    B, L, _ = hidden_BLD.shape
    place_BL = _turned((B, L), -num_padding_B)
    rows_B1 = torch.arange(B, device=hidden_BLD.device).unsqueeze(1) * L
    return F.embedding(rows_B1 + place_BL, hidden_BLD.flatten(0, 1))


def last_events(hidden_BLD: torch.Tensor, num_padding_B: torch.Tensor) -> torch.Tensor:
    """The hidden state of each row's newest event, [B, D], where events stand first."""
    B, L, _ = hidden_BLD.shape
    at_B = torch.arange(B, device=hidden_BLD.device) * L + (L - 1 - num_padding_B)
    return F.embedding(at_B, hidden_BLD.flatten(0, 1))


def num_padding(ids_BL: torch.Tensor) -> torch.Tensor:
    """The places before each row's first event, [B]; 0 for a row without any."""
    return (ids_BL != PAD).int().argmax(dim=1)


def _turned(shape: tuple[int, ...], by_B: torch.Tensor) -> torch.Tensor:
    """For each place of a row, the place that its value comes from."""
    _, L = shape
    return (torch.arange(L, device=by_B.device) + by_B.unsqueeze(1)) % L
