"""The checks for models of other packages: they hold for ours, and find what is broken."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import itrec_dist as itrec
from itrec_dist import testing
from itrec_dist.data.event_features import EventFeature
from itrec_dist.data.schema import PAD, Batch
from itrec_dist.errors import ConfigError
from itrec_dist.models.item_table import Queries
from tests.cases import slow_after
from tests.small_models import small
from tests.step_model import Steps, StepsConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        small("sasrec"),
        small("ite"),
        small("gru4rec"),
        small("hstu"),
        small("sasrec", linear_width=5, linear_dropout=0.0),
        small("bert4rec"),
    ],
    ids=lambda settings: settings.label("softmax"),
)
def test_models_of_ours_keep_what_models_promise(settings):
    testing.check_model(settings)


class Later(Steps):
    """Sees what comes next."""

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        hidden_BLD = super().encode_steps(batch)
        return hidden_BLD + hidden_BLD.roll(-1, dims=1)


class Told(Steps):
    """Is told the target."""

    def encode(self, batch: Batch) -> Queries:
        hidden_BD = super().encode(batch).hidden_ND
        return Queries(hidden_BD + self.items(batch.target_ids_BK[:, 0]))


class Idle(Steps):
    """Has a layer that does nothing."""

    def __init__(self, config: StepsConfig, spec: object) -> None:
        super().__init__(config, spec)
        self.idle = nn.Linear(2, 2)


class Noisy(Steps):
    """Adds ratings, also those of padding."""

    def encode(self, batch: Batch) -> Queries:
        hidden_BD = super().encode(batch).hidden_ND
        return Queries(hidden_BD + batch.ratings_BL.mean(dim=1)[:, None])


class Crowded(Steps):
    """Subtracts the mean over the batch."""

    def encode(self, batch: Batch) -> Queries:
        hidden_BD = super().encode(batch).hidden_ND
        return Queries(hidden_BD - hidden_BD.mean(dim=0))


class Forgetful(Steps):
    """Holds a tensor that no checkpoint has."""

    def __init__(self, config: StepsConfig, spec: object) -> None:
        super().__init__(config, spec)
        self.scale_D = torch.rand(config.width)

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        return super().encode_steps(batch) * self.scale_D


class Exploding(Steps):
    """Divides by the number of its latest item."""

    def encode_steps(self, batch: Batch) -> torch.Tensor:
        is_event_BL1 = (batch.item_ids_BL != PAD)[..., None]
        return super().encode_steps(batch) / is_event_BL1[:, :1]


class Branching(Steps):
    """Goes another way for some values of its input."""

    def encode(self, batch: Batch) -> Queries:
        hidden_BD = super().encode(batch).hidden_ND
        return Queries(hidden_BD if batch.item_ids_BL[0, -1] < 100 else -hidden_BD)


class TwoFaced(Steps):
    """Computes something else where it is exported."""

    def encode(self, batch: Batch) -> Queries:
        hidden_BD = super().encode(batch).hidden_ND
        return Queries(-hidden_BD if torch.compiler.is_exporting() else hidden_BD)


class Personal(Steps):
    """Knows its users by number."""

    def encode(self, batch: Batch) -> Queries:
        hidden_BD = super().encode(batch).hidden_ND
        return Queries(hidden_BD * (1 + batch.user_ids_B[:, None] % 3))


@dataclass(frozen=True)
class OtherConfig(StepsConfig):
    """Settings of one of the broken models."""

    built: type[Steps] = Steps

    def build(self, spec: object) -> Steps:
        return self.built(self, spec)


@pytest.mark.slow
def test_the_model_that_others_break_is_whole():
    testing.check_model(OtherConfig())


@pytest.mark.parametrize(
    ("built", "words"),
    slow_after(
        9,
        [
            (Later, "positions before 1 depend on the event at 1"),
            (Told, "the scores depend on the targets"),
            (Idle, "does not depend on the parameter model.idle.weight"),
            (Noisy, "depend on ratings or times in padded places"),
            (Crowded, "depend on the other rows"),
            (Forgetful, "register what it holds"),
            (Exploding, "the scores of padded rows are not finite"),
            (Branching, "cannot be exported, since torch.export does not know how to trace it"),
            (Personal, "the scores depend on user_ids_B: an exported model knows users by their"),
            (TwoFaced, "the program of torch.export scores otherwise than the model"),
        ],
    ),
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_promise_is_named(built, words):
    with pytest.raises(AssertionError, match=words) as broken:
        testing.check_model(OtherConfig(built=built))
    assert "\n" not in str(broken.value)


def test_what_needs_no_gradient_can_be_named():
    testing.check_gradients(testing.Subject(OtherConfig(built=Idle)), unused=("idle",))


def test_models_of_other_tasks_are_refused():
    with pytest.raises(ConfigError, match="rank items or predict ratings"):
        testing.check_model(itrec.models.Item2Vec())


@pytest.mark.slow
def test_columns_of_events_reach_what_is_exported():
    columns = (
        EventFeature("device", "category", values=("desk", "phone")),
        EventFeature("price", "number", edges=(1.5, 2.5)),
    )
    settings = small("sasrec", event_features=("price", "device"), event_context=("gap",))
    spec = replace(testing.small_spec(), event_features=columns)
    testing.check_export(testing.Subject(settings, spec=spec))


@pytest.mark.slow
def test_features_are_drawn_for_models_that_need_them():
    spec = replace(testing.small_spec(), user_cardinalities=(2, 3))
    batch = testing.Subject(small("sasrec"), spec=spec).batch()
    assert batch.user_features_BF.shape == (12, 2)
    assert batch.user_features_BF.max(dim=0).values.tolist() == [2, 3]
    testing.check_model(small("sasrec", side_information="user"), spec=spec)
