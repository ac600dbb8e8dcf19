"""The models: one file each, with its settings and its module.

A file `some_name.py` holds one frozen dataclass `SomeNameConfig(ModelConfig)` whose `build` returns
the module; no other file needs to change.
"""

from itrec_dist.config.registry import Registry
from itrec_dist.models.config import ModelConfig

MODELS: Registry[type[ModelConfig]] = Registry(
    "kind of model", "itrec_dist.models", group="itrec_dist.models", suffix="Config"
)
"""Kind, as recipes name it -> settings class, defined in the same file as its module."""
