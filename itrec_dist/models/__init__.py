"""The models: one file each, with its settings and its module.

A new model is a new file and its line in `MODELS`; one that predicts ratings has its module in
`RATING_MODELS` too.
"""

from collections.abc import Callable
from typing import Any

from itrec_dist.data.spec import DataSpec
from itrec_dist.models.autorec import AutoRec, AutoRecConfig
from itrec_dist.models.biased_mf import BiasedMF, BiasedMFConfig
from itrec_dist.models.bst import BST, BSTConfig
from itrec_dist.models.dot_product import DotProduct, DotProductConfig
from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.item2vec import Item2VecConfig
from itrec_dist.models.model import ModelConfig
from itrec_dist.models.neural_mf import NeuralMF, NeuralMFConfig
from itrec_dist.models.rating_model import RatingModel
from itrec_dist.models.svdpp import SVDpp, SVDppConfig

MODELS: dict[str, type[ModelConfig]] = {
    "ite": ITEConfig,
    "item2vec": Item2VecConfig,
    "dot_product": DotProductConfig,
    "neural_mf": NeuralMFConfig,
    "biased_mf": BiasedMFConfig,
    "svdpp": SVDppConfig,
    "bst": BSTConfig,
    "autorec": AutoRecConfig,
}
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
