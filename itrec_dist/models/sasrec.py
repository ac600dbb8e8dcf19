"""Self-attentive sequential recommendation: a causal transformer over a history of items.

Source: Kang and McAuley, Self-Attentive Sequential Recommendation (2018). Unlike there, every
sublayer is normalised before it (pre-norm, keys and values too), the feed-forward net has GELU,
positions are counted from the end, so that the newest event has the same one in every batch, and
the loss is a setting, by default one over the whole catalogue.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import nn

from itrec_dist.config.fields import CHANGEABLE
from itrec_dist.data.manifest import Manifest, SampleKind
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.models.transformer import Dropout, attend

_EMBEDDING_STD = 0.02


@dataclass(frozen=True)
class SasrecConfig(ModelConfig):
    """The transformer's shape."""

    task: ClassVar[str] = "next_items"
    """It scores the catalogue."""
    samples: ClassVar[SampleKind] = "histories"
    """It learns from every position of a history."""
    item_embedding: ClassVar[str | None] = "item_embedding.weight"
    """Its item vectors."""

    kind: Literal["sasrec"] = "sasrec"
    """Kind of model; `--model.kind NAME --help` lists the settings of another."""
    width: int = 64
    """Width of the item vectors and of the transformer."""
    num_layers: int = 2
    """Number of transformer layers."""
    num_heads: int = 1
    """Attention heads per layer; must divide the width."""
    feedforward_multiplier: int = 1
    """Inner width of each layer's feed-forward net, in widths."""
    dropout: float = field(default=0.2, metadata=CHANGEABLE)
    """Dropout on the input vectors and in the layers, 0 <= p < 1."""
    item_bias: bool = True
    """Add a learned score to each item, which starts at the training popularity."""
    causal: bool = True
    """Let an event attend to earlier ones alone and learn from every position of a history; false
    attends to all of them and learns from the last target alone."""

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit together.

        Raises:
            ConfigError: names the setting.
        """
        for name in ("width", "num_layers", "num_heads", "feedforward_multiplier"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name}={getattr(self, name)} must be at least 1")
        if self.width % self.num_heads:
            raise ConfigError(
                f"model.num_heads={self.num_heads} must divide model.width={self.width}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout={self.dropout} must be at least 0 and below 1")

    @property
    def item_width(self) -> int:
        """The width."""
        return self.width

    def build(self, spec: DataSpec) -> nn.Module:
        """The model."""
        return SASRec(self, spec) if self.causal else SequenceEncoder(self, spec)

    def label(self, loss: str) -> str:
        """What distinguishes its arms."""
        return f"SASRec {loss}{'' if self.causal else ' bidirectional'}"

    def check(self, data: Manifest) -> None:
        """Histories or windows will do."""


class SequenceEncoder(nn.Module):
    """A `RankingModel`: the newest event's hidden state as query, the item vectors as table."""

    def __init__(self, config: SasrecConfig, spec: DataSpec) -> None:
        super().__init__()
        self.config = config
        self.item_embedding = nn.Embedding(spec.num_items + 1, config.width, padding_idx=PAD)
        self.position_embedding = nn.Embedding(spec.input_length, config.width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        self.item_bias = nn.Parameter(torch.zeros(spec.num_items)) if config.item_bias else None
        self.dropout = Dropout(config.dropout)
        for embedding in (self.item_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=_EMBEDDING_STD)
        with torch.no_grad():
            self.item_embedding.weight[PAD].zero_()

    def encode(self, batch: Batch) -> Queries:
        """One query per row, float32."""
        return Queries(self._hidden(batch)[:, -1].float())

    def item_table(self) -> ItemTable:
        """The item vectors and biases."""
        return ItemTable(self.item_embedding.weight[1:], self.item_bias)

    def _hidden(self, batch: Batch) -> torch.Tensor:
        """The hidden state of every position, [B, L, D]; rows may be of any width up to L."""
        ids_BL = batch.item_ids_BL
        L = ids_BL.shape[1]
        from_end_LD = self.position_embedding.weight[:L].flip(0)
        hidden_BLD = self.item_embedding(ids_BL) * math.sqrt(self.config.width) + from_end_LD
        hidden_BLD = self.dropout(hidden_BLD)
        mask_B1LL = self._mask(ids_BL)
        for layer in self.layers:
            hidden_BLD = layer(hidden_BLD, mask_B1LL)
        normed_BLD: torch.Tensor = self.norm(hidden_BLD)
        return normed_BLD

    def _mask(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """True where a position may attend: to events, and to itself, since padding needs one."""
        L = ids_BL.shape[1]
        is_event_B1L = (ids_BL != PAD).unsqueeze(1)
        may_see_LL = torch.ones(L, L, dtype=torch.bool, device=ids_BL.device)
        itself_LL = torch.eye(L, dtype=torch.bool, device=ids_BL.device)
        may_see_LL = may_see_LL.tril() if self.config.causal else may_see_LL
        return ((may_see_LL & is_event_B1L) | itself_LL).unsqueeze(1)


class SASRec(SequenceEncoder):
    """A `StepModel` too: no position depends on a later one."""

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        """The hidden state of every position, [B, L, D]."""
        return self._hidden(batch)


class _Layer(nn.Module):
    """Self-attention and a feed-forward net, each of its normalised input and added to it."""

    def __init__(self, config: SasrecConfig) -> None:
        super().__init__()
        width, inner = config.width, config.width * config.feedforward_multiplier
        self.num_heads = config.num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.norm_feedforward = nn.LayerNorm(width)
        self.expand = nn.Linear(width, inner)
        self.contract = nn.Linear(inner, width)
        self.dropout = Dropout(config.dropout)

    def forward(self, hidden_BLD: torch.Tensor, mask_B1LL: torch.Tensor) -> torch.Tensor:
        """Transform [B, L, D]; `mask_B1LL` is True where a position may attend to another."""
        B, L, D = hidden_BLD.shape
        qkv = self.qkv(self.norm_attention(hidden_BLD))
        qkv = qkv.view(B, L, 3, self.num_heads, D // self.num_heads).permute(2, 0, 3, 1, 4)
        q_BHLE, k_BHLE, v_BHLE = qkv.unbind(0)
        mixed_BHLE = attend(q_BHLE, k_BHLE, v_BHLE, mask_B1LL)
        mixed_BLD = self.attended(mixed_BHLE.transpose(1, 2).reshape(B, L, D))
        hidden_BLD = hidden_BLD + self.dropout(mixed_BLD)
        inner_BLD = F.gelu(self.expand(self.norm_feedforward(hidden_BLD)))
        outer_BLD = self.dropout(self.contract(self.dropout(inner_BLD)))
        summed_BLD: torch.Tensor = hidden_BLD + outer_BLD
        return summed_BLD
