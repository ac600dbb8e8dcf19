"""The models: one file each, with its settings and its module.

A new model is a new file; one that predicts ratings has its module in `RATING_MODELS` too.
"""

from collections.abc import Callable
from typing import Any

from itrec_dist.config.registry import Registry
from itrec_dist.data.spec import DataSpec
from itrec_dist.models.autorec import AutoRec
from itrec_dist.models.biased_mf import BiasedMF
from itrec_dist.models.bst import BST
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.dot_product import DotProduct
from itrec_dist.models.neural_mf import NeuralMF
from itrec_dist.models.rating_model import RatingModel
from itrec_dist.models.svdpp import SVDpp

MODELS: Registry[type[ModelConfig]] = Registry(
    "kind of model", "itrec_dist.models", group="itrec_dist.models", suffix="Config"
)
"""Kind, as recipes name it -> the settings, whose module stands in the same file."""

RATING_MODELS: dict[str, Callable[[Any, DataSpec], RatingModel]] = {
    "dot_product": DotProduct,
    "neural_mf": NeuralMF,
    "biased_mf": BiasedMF,
    "svdpp": SVDpp,
    "bst": BST,
    "autorec": AutoRec,
}
"""Kind of the models that predict ratings -> the module, made from its settings and the data."""
