"""Every kind of ranking model, small and without dropout, and the data that it is built for."""

import dataclasses
from typing import Any

import torch
from torch import nn

from itrec_dist.data.history_feeds import HistoryTable
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards.arrays import HistoryRows
from itrec_dist.data.spec import DataSpec
from itrec_dist.models import MODELS
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.item_table import StepModel

SPEC = DataSpec(
    input_length=12, target_length=1, num_items=12, num_users=8, num_train_windows=50,
    user_cardinalities=(), rating_mean=3.0, rating_std=1.0, rating_min=1.0, rating_max=5.0,
    has_times=True, item_features_VF=torch.zeros(13, 0), target_counts_C=torch.arange(12) + 1,
)  # fmt: skip

SIZES = {
    "width": 16, "num_layers": 2, "num_heads": 2, "feedforward_multiplier": 2, "dropout": 0.0,
    "side_information": "none", "movie_feature_width": 4,
}  # fmt: skip


def small(kind: str, **given: Any) -> ModelConfig:
    """The settings of a kind, small where it has such settings."""
    names = {field.name for field in dataclasses.fields(MODELS[kind])}
    return MODELS[kind](**{n: v for n, v in SIZES.items() if n in names} | given)


def steps_models() -> dict[str, ModelConfig]:
    """The kinds that learn from every position, and their variants that see other things."""
    found = {}
    for kind in MODELS:
        given = {"causal": True} if hasattr(MODELS[kind], "causal") else {}
        if MODELS[kind].task != "next_items":
            continue
        if isinstance(small(kind, **given).build(SPEC), StepModel):
            found[kind] = small(kind, **given)
            if hasattr(found[kind], "time_of_query"):
                found[f"{kind}, time of query"] = small(kind, time_of_query=True)
    found["sasrec, linear"] = small("sasrec", linear_width=5, linear_dropout=0.0)
    found["gru4rec, told"] = small("gru4rec", rating=True, event_context=("gap",))
    return found


STEP_MODELS = steps_models()


def drawn(config: ModelConfig, seed: int = 1) -> nn.Module:
    """The model with weights that tell: those of the start hardly differ from each other."""
    torch.manual_seed(seed)
    model = config.build(SPEC).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model.get_parameter(config.item_embedding)[0].zero_()
    return model


def batch_of(rows: HistoryRows, width: int) -> Batch:
    """Judged rows as one batch."""
    tensors = HistoryTable(rows, torch.device("cpu"), 2).judged(torch.arange(len(rows)), width)
    return Batch(**tensors, weight_B=torch.ones(len(rows)), denominator=len(rows))
