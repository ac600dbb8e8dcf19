"""HSTU: pointwise gated attention, which knows how far apart events are in position and time.

Source: Zhai et al., Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
Generative Recommendations (2024). Their code tells each position the time of the event that it is
to predict; here that is a switch, off by default, and said in the label.
"""

from dataclasses import dataclass
from typing import Literal

from itrec_dist.data.spec import DataSpec
from itrec_dist.models.parts.config import TimedConfig
from itrec_dist.models.parts.encoder import StepEncoder
from itrec_dist.models.parts.pointwise_block import PointwiseBlock


@dataclass(frozen=True)
class HstuConfig(TimedConfig):
    """The transformer's shape."""

    kind: Literal["hstu"] = "hstu"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""

    def build(self, spec: DataSpec) -> StepEncoder:
        """The model."""
        length = spec.input_length
        return StepEncoder(
            self, spec, lambda: PointwiseBlock(self.width, self.num_heads, length, self.dropout),
            self.pairs,
        )  # fmt: skip

    def label(self, loss: str) -> str:
        """What distinguishes its arms."""
        return f"HSTU {loss}{self.features_label}{self.query_note}"
