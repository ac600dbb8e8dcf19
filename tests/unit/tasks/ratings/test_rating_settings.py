"""Data that a rating model cannot be trained on, refused in a sentence."""

from dataclasses import replace

import pytest

from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import ConfigError
from itrec_dist.models import MODELS
from itrec_dist.models.bst import BSTConfig
from tests.shards_factory import make_shards, random_windows

RATING_MODELS = [kind for kind in MODELS if MODELS[kind].task == "ratings"]


@pytest.mark.parametrize("kind", RATING_MODELS)
def test_shards_without_ratings_or_scale_are_refused(kind, tmp_path):
    made: Manifest = make_shards(tmp_path / "shards", {"train": random_windows(target_length=1)})
    with pytest.raises(ConfigError, match="window the data again with itrec window ratings"):
        MODELS[kind]().check(made)
    with pytest.raises(ConfigError, match="the shards have none"):
        MODELS[kind]().check(replace(made, has_ratings=False))


@pytest.mark.parametrize("setting", ["genres", "user_features"])
def test_features_that_are_not_there_are_refused(setting, tmp_path):
    windows = random_windows(target_length=1)
    made = make_shards(tmp_path / "shards", {"train": windows})
    made = replace(made, rating_min=1.0, rating_max=5.0, item_features=(), user_features=())
    with pytest.raises(ConfigError, match=f"set model.{setting}=false"):
        BSTConfig(genres=setting == "genres", user_features=setting == "user_features").check(made)
    BSTConfig(genres=False, user_features=False).check(made)
