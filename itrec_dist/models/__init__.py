"""The models: one file each, with its settings and its module.

A new model is a new file and its line in `MODELS`.
"""

from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.model import ModelConfig

MODELS: dict[str, type[ModelConfig]] = {"ite": ITEConfig}
"""Kind, as recipes name it -> the settings, whose module stands in the same file."""
