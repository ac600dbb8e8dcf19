"""Self-attentive sequential recommendation: a causal transformer over a history of items.

Source: Kang and McAuley, Self-Attentive Sequential Recommendation (2018). Unlike there, every
sublayer is normalised before it (pre-norm, keys and values too), the feed-forward net has GELU,
positions are counted from the end, so that the newest event has the same one in every batch, and
the loss is a setting, by default one over the whole catalogue.
"""

from dataclasses import dataclass
from typing import Literal

from itrec_dist.data.spec import DataSpec
from itrec_dist.models.parts.config import SequenceConfig, refuse_below_one
from itrec_dist.models.parts.encoder import SequenceEncoder, StepEncoder
from itrec_dist.models.parts.pairs import see_earlier
from itrec_dist.models.parts.pre_norm_block import PreNormBlock


@dataclass(frozen=True)
class SasrecConfig(SequenceConfig):
    """The transformer's shape."""

    kind: Literal["sasrec"] = "sasrec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    feedforward_multiplier: int = 1
    """Inner width of each layer's feed-forward net, in widths."""
    causal: bool = True
    """Let an event attend to earlier ones alone and learn from every position of a history; false
    attends to all of them and learns from the last target alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_below_one(self.feedforward_multiplier)

    def build(self, spec: DataSpec) -> SequenceEncoder:
        """The model."""
        if self.causal:
            return StepEncoder(self, spec, self._block, see_earlier)
        return SequenceEncoder(self, spec, self._block)

    def label(self, loss: str) -> str:
        """What distinguishes its arms."""
        return f"SASRec {loss}{'' if self.causal else ' bidirectional'}{self.features_label}"

    def _block(self) -> PreNormBlock:
        inner = self.width * self.feedforward_multiplier
        return PreNormBlock(self.width, self.num_heads, inner, self.dropout)
