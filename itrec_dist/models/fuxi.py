"""FuXi-alpha: attention by meaning, position and time in channels of their own.

Source: Ye et al., FuXi-alpha: Scaling Recommendation Model with Feature Interaction Enhanced
Transformer (2025). The time of the event to predict is a switch, off by default, and said in the
label.
"""

from dataclasses import dataclass
from typing import Literal

from itrec_dist.data.spec import DataSpec
from itrec_dist.models.parts.config import TimedConfig, refuse_below_one
from itrec_dist.models.parts.encoder import StepEncoder
from itrec_dist.models.parts.fuxi_block import FuxiBlock


@dataclass(frozen=True)
class FuxiConfig(TimedConfig):
    """The transformer's shape."""

    kind: Literal["fuxi"] = "fuxi"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    feedforward_multiplier: int = 1
    """Inner width of each layer's feed-forward net, in widths."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_below_one(self.feedforward_multiplier)

    def build(self, spec: DataSpec) -> StepEncoder:
        """The model."""
        inner, length = self.width * self.feedforward_multiplier, spec.input_length
        return StepEncoder(
            self, spec,
            lambda: FuxiBlock(self.width, self.num_heads, length, inner, self.dropout),
            self.pairs,
        )  # fmt: skip

    def label(self, loss: str) -> str:
        """What distinguishes its arms."""
        return f"FuXi-alpha {loss}{self.features_label}{self.query_note}"
