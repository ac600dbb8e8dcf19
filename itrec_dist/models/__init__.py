"""The models: one file each, with its settings and its module.

A file `some_name.py` holds one frozen dataclass `SomeNameConfig(ModelConfig)` whose `build` returns
the module; no other file needs to change.

Those of ours also have the names that the literature gives them: `models.SASRec(width=64)` are
settings of `sasrec`. A model of ours gets its name here.
"""

from typing import TYPE_CHECKING, Any

from itrec_dist.config.registry import Registry
from itrec_dist.models.config import ModelConfig

if TYPE_CHECKING:
    from itrec_dist.models.autorec import AutoRecConfig as AutoRec
    from itrec_dist.models.bert4rec import Bert4recConfig as BERT4Rec
    from itrec_dist.models.biased_mf import BiasedMFConfig as BiasedMF
    from itrec_dist.models.bst import BSTConfig as BST
    from itrec_dist.models.dot_product import DotProductConfig as DotProduct
    from itrec_dist.models.esasrec import EsasrecConfig as ESASRec
    from itrec_dist.models.fuxi import FuxiConfig as FuXi
    from itrec_dist.models.gru4rec import Gru4recConfig as GRU4Rec
    from itrec_dist.models.hstu import HstuConfig as HSTU
    from itrec_dist.models.ite import ITEConfig as ITE
    from itrec_dist.models.item2vec import Item2VecConfig as Item2Vec
    from itrec_dist.models.neural_mf import NeuralMFConfig as NeuralMF
    from itrec_dist.models.sasrec import SasrecConfig as SASRec
    from itrec_dist.models.svdpp import SVDppConfig as SVDpp

__all__ = [
    "BST",
    "HSTU",
    "ITE",
    "MODELS",
    "AutoRec",
    "BERT4Rec",
    "BiasedMF",
    "DotProduct",
    "ESASRec",
    "FuXi",
    "GRU4Rec",
    "Item2Vec",
    "NeuralMF",
    "SASRec",
    "SVDpp",
]

MODELS: Registry[type[ModelConfig]] = Registry(
    "kind of model", "itrec_dist.models", group="itrec_dist.models", suffix="Config"
)
"""Kind, as recipes name it -> settings class, defined in the same file as its module."""

_KINDS = {
    "AutoRec": "autorec",
    "BERT4Rec": "bert4rec",
    "BST": "bst",
    "BiasedMF": "biased_mf",
    "DotProduct": "dot_product",
    "ESASRec": "esasrec",
    "FuXi": "fuxi",
    "GRU4Rec": "gru4rec",
    "HSTU": "hstu",
    "ITE": "ite",
    "Item2Vec": "item2vec",
    "NeuralMF": "neural_mf",
    "SASRec": "sasrec",
    "SVDpp": "svdpp",
}
"""Public name of the settings -> kind."""


def __getattr__(name: str) -> Any:
    if name in _KINDS:
        return MODELS[_KINDS[name]]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
