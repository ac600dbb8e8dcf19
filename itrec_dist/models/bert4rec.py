"""BERT4Rec: a transformer that learns to name hidden events of a history from those around them.

Source: Sun et al., BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations
from Transformer (2019). Unlike there, every sublayer is normalised before it, the hidden state is
the query without another layer, and the loss is a setting. It learns from a few events of a history
at a time and needs many more epochs than SASRec: Petrov and Macdonald, A Systematic Review and
Replicability Study of BERT4Rec for Sequential Recommendation (2022), section 5.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.item_table import ChosenSteps, Queries
from itrec_dist.models.parts.config import SequenceConfig, refuse_below_one
from itrec_dist.models.parts.encoder import SequenceEncoder
from itrec_dist.models.parts.features import STD
from itrec_dist.models.parts.masking import Masking
from itrec_dist.models.parts.pre_norm_block import PreNormBlock


@dataclass(frozen=True)
class Bert4recConfig(SequenceConfig):
    """The transformer's shape, and how many events are hidden."""

    kind: Literal["bert4rec"] = "bert4rec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    feedforward_multiplier: int = 4
    """Inner width of each layer's feed-forward net, in widths."""
    mask_probability: float = 0.2
    """Share of the events of a history that is hidden in training, drawn anew every epoch."""
    newest_alone: float = 0.1
    """Share of the histories of which the newest event alone is hidden, as in what is judged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_below_one(self.feedforward_multiplier)
        if not 0 < self.mask_probability < 1:
            raise ConfigError(
                f"model.mask_probability={self.mask_probability} must be above 0 and below 1"
            )
        if self.uses_time_of_query:
            raise ConfigError(
                "model.event_context has time_of_query, and model.kind=bert4rec predicts hidden "
                "events, whose times are hidden: leave it out, or choose another kind"
            )
        if not 0 <= self.newest_alone <= 1:
            raise ConfigError(f"model.newest_alone={self.newest_alone} must be from 0 to 1")

    @property
    def learns_ahead(self) -> bool:
        """What it is to name is hidden, and not what follows."""
        return False

    def build(self, spec: DataSpec) -> "BERT4Rec":
        """The model."""
        return BERT4Rec(self, spec)

    def label(self, loss: str) -> str:
        """What distinguishes its arms."""
        return f"BERT4Rec {loss}{self.features_label}"

    def block(self) -> PreNormBlock:
        """One layer."""
        inner = self.width * self.feedforward_multiplier
        return PreNormBlock(self.width, self.num_heads, inner, self.dropout)


class BERT4Rec(SequenceEncoder):
    """A `StepChooser`; the query is the hidden state of a hidden event after the history.

    Windows of fixed length, and beginnings of histories, are learned from in the way of judging.
    """

    def __init__(self, config: Bert4recConfig, spec: DataSpec) -> None:
        # One more position: that of the event to predict.
        super().__init__(config, replace(spec, input_length=spec.input_length + 1), config.block)
        self.mask_vector = nn.Parameter(torch.empty(config.width).normal_(std=STD))
        mask_id = spec.num_items + 1
        self.masking = Masking(mask_id, config.mask_probability, config.newest_alone)

    def encode(self, batch: Batch) -> Queries:
        """One query per row, float32."""
        return super().encode(self.masking.asked(batch))

    def choose_steps(self, batch: Batch) -> ChosenSteps:
        """Hide some of the targets of a training batch."""
        masked, target_ids_BL = self.masking.drawn(batch)
        return ChosenSteps(self.hidden(masked), target_ids_BL)

    def item_vectors(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """The vectors of the events' items, one and the same for all that are hidden."""
        is_hidden_BL = ids_BL == self.masking.mask_id
        vector_BLD = super().item_vectors(ids_BL.masked_fill(is_hidden_BL, PAD))
        mask_D = self.mask_vector * math.sqrt(len(self.mask_vector))
        return torch.where(is_hidden_BL.unsqueeze(2), mask_D, vector_BLD)
