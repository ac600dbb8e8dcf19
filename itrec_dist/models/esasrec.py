"""eSASRec: SASRec's objective with the gated blocks of LiGR, for a softmax over sampled negatives.

Source: Tikhonovich et al., eSASRec: Enhancing Transformer-based Recommendations in a Modular
Fashion (2025).
"""

from dataclasses import dataclass, field
from typing import Literal

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.spec import DataSpec
from itrec_dist.models.parts.config import SequenceConfig, refuse_below_one
from itrec_dist.models.parts.encoder import StepEncoder
from itrec_dist.models.parts.ligr_block import LigrBlock
from itrec_dist.models.parts.pairs import see_earlier


@dataclass(frozen=True)
class EsasrecConfig(SequenceConfig):
    """The transformer's shape."""

    kind: Literal["esasrec"] = "esasrec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    feedforward_multiplier: int = 4
    """Inner width of each layer's feed-forward net, in widths."""
    dropout: float = field(default=0.1, metadata=CHANGEABLE)
    """Dropout on the input vectors and in the layers, 0 <= p < 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_below_one(self.feedforward_multiplier)

    def build(self, spec: DataSpec) -> StepEncoder:
        """The model."""
        inner = self.width * self.feedforward_multiplier
        return StepEncoder(
            self, spec, lambda: LigrBlock(self.width, self.num_heads, inner, self.dropout),
            see_earlier,
        )  # fmt: skip

    def label(self, loss: str) -> str:
        """What distinguishes its arms."""
        return f"eSASRec {loss}{self.features_label}"
