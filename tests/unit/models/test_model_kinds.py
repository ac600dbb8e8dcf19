"""What every kind of model's settings promise to the rest of the package."""

import pytest

from itrec_dist.data import spec as data_spec
from itrec_dist.data.shards import reader
from itrec_dist.losses import LOSSES
from itrec_dist.models import MODELS
from itrec_dist.models.config import ModelConfig
from itrec_dist.models.item_table import RankingModel
from itrec_dist.models.rating_model import RatingModel
from itrec_dist.tasks import TASKS
from tests.shards_factory import make_shards, random_windows


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "shards"
    made = make_shards(folder, {"train": random_windows()})
    return data_spec.build(made, reader.read_items(folder, made))


def test_the_kinds_are_those_of_the_files():
    assert list(MODELS) == [
        "autorec", "bert4rec", "biased_mf", "bst", "dot_product", "esasrec", "fuxi", "gru4rec",
        "hstu", "ite", "item2vec", "neural_mf", "sasrec", "svdpp",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_a_kinds_settings_build_its_module_and_name_its_item_embedding(kind, spec):
    settings = MODELS[kind]()
    assert isinstance(settings, ModelConfig)
    assert settings.kind == kind
    assert settings.sparse_gradients is False
    model = settings.build(spec)
    needed = {"next_items": RankingModel, "ratings": RatingModel}.get(settings.task, object)
    assert isinstance(model, needed)
    task = TASKS[settings.task]
    assert all(task.accepts(LOSSES[loss]()) for loss in task.losses)
    if settings.item_embedding is None:
        assert settings.item_width is None
    else:
        weight = model.get_parameter(settings.item_embedding)
        assert weight.shape == (spec.num_items + 1, settings.item_width)
        assert not weight[0].any()
