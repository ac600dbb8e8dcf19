"""Side information of all models over histories: each level, and nothing beyond it."""

import calendar
import dataclasses
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import torch

from itrec_dist.data import spec as data_spec
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models import MODELS
from itrec_dist.models.parts.context import EventContext
from itrec_dist.models.parts.features import FeatureConfig
from itrec_dist.testing import check_model
from tests.cases import slow_after
from tests.histories_factory import judged_batch, judged_rows
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = [kind for kind in MODELS if issubclass(MODELS[kind], FeatureConfig)]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Manifest, DataSpec]:
    folder = tmp_path_factory.mktemp("spec") / "shards"
    windows = random_windows(50, input_length=12, target_length=1, times=True)
    manifest = make_shards(folder, {"train": windows})
    return manifest, data_spec.build(manifest, reader.read_items(folder, manifest))


@pytest.fixture(scope="module")
def spec(made) -> DataSpec:
    return made[1]


def drawn(config: FeatureConfig, spec: DataSpec) -> torch.nn.Module:
    """The model with weights that tell: those of the start hardly differ from each other."""
    torch.manual_seed(1)
    model = config.build(spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        model.item_embedding.weight[0].zero_()
    return model


def batch() -> Batch:
    made = judged_batch(judged_rows(12, longest=8, targets=1), 8)
    codes_BF = torch.stack([made.user_ids_B % 3, made.user_ids_B % 4], dim=1)
    times_BL = torch.arange(1000, 9000, 1000).cumsum(0) * (made.item_ids_BL != 0)
    return replace(made, user_features_BF=codes_BF.int(), times_BL=times_BL)


def other_values(given: Batch) -> dict[str, Batch]:
    """The batch with something else about users and events, but for the items."""
    is_event_BL = given.item_ids_BL != 0
    return {
        "user": replace(given, user_features_BF=(given.user_features_BF + 1) % 3),
        "rating": replace(given, ratings_BL=(given.ratings_BL % 5 + 1) * is_event_BL),
        "gap": replace(given, times_BL=given.times_BL * 7),
    }


def test_all_models_over_histories_have_them():
    assert {"bert4rec", "gru4rec", "sasrec"} <= set(KINDS)
    assert {"side_information"} <= {f.name for f in dataclasses.fields(MODELS["ite"])}


@each_kind
@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, set()),
        ({"side_information": "item"}, set()),
        ({"side_information": "user"}, {"user"}),
        ({"rating": True}, {"rating"}),
        ({"event_context": ("gap",)}, {"gap"}),
        (
            {"side_information": "both", "rating": True, "event_context": ("gap",)},
            {"user", "rating", "gap"},
        ),
    ],
)
def test_a_model_sees_what_it_is_set_to_see(spec, kind, given, seen):
    config = MODELS[kind](width=16, **given)
    model, first = drawn(config, spec), batch()
    before = model.encode(first).hidden_ND
    is_long_B = (first.item_ids_BL != 0).sum(dim=1) > 1
    for name, changed in other_values(first).items():
        if name == "gap" and config.uses_times and "gap" not in given.get("event_context", ()):
            continue  # it has times of its own
        after = model.encode(changed).hidden_ND
        is_changed_B = (before != after).any(dim=1)[is_long_B]
        assert is_changed_B.all() if name in seen else not is_changed_B.any()


@each_kind
@pytest.mark.parametrize("level", ["item", "movie", "both"])
def test_an_item_is_its_id_and_its_features(spec, kind, level):
    model = drawn(MODELS[kind](width=16, side_information=level), spec)
    table_CD = model.item_table().weight_CD
    ids_VD, values_FD = model.item_embedding.weight, model.item_embedding.features.weight
    for item in range(1, 13):
        expected_D = ids_VD[item].clone()
        for column, is_set in enumerate(spec.item_features_VF.to_dense()[item]):
            if is_set:
                expected_D += values_FD[column]
        torch.testing.assert_close(table_CD[item - 1], expected_D)
    given = model.item_embedding(torch.tensor([[5, 0]]))
    torch.testing.assert_close(given[0, 0], table_CD[4] * 4)  # the root of the width
    assert not given[0, 1].any()


@each_kind
def test_the_output_may_leave_features_out(spec, kind):
    given = {"side_information": "item", "scores_features": False}
    model = drawn(MODELS[kind](width=16, **given), spec)
    assert torch.equal(model.item_table().weight_CD, model.item_embedding.weight[1:])
    ids = torch.tensor([[5]])
    assert (model.item_embedding(ids) != model.item_embedding.weight[5] * 4).all()


@each_kind
def test_an_item_without_events_learns_by_its_features(spec, kind):
    model = drawn(MODELS[kind](width=16, side_information="item"), spec)
    first = batch()
    first = replace(first, item_ids_BL=first.item_ids_BL.clamp(max=11))
    queries = model.encode(first)
    model.item_table().scores_of(queries, first.target_ids_BK.clamp(1, 11)).sum().backward()
    assert not model.item_embedding.weight.grad[12].any()
    twelfth = spec.item_features_VF.to_dense()[12].bool()
    assert model.item_embedding.features.weight.grad[twelfth].any(dim=1).all()
    assert not model.item_embedding.weight.grad[0].any()


@pytest.mark.parametrize("seconds", [1.0, 1e-3, 1e-6, 1e-9])
def test_hours_and_weekdays_are_those_of_the_calendar(spec, seconds):
    moments = [(1969, 12, 31, 23), (1970, 1, 1, 0), (2000, 2, 29, 13), (2026, 11, 26, 18)]
    dates = [datetime(*moment, 59, 59, tzinfo=UTC) for moment in moments]
    unit = round(1 / seconds)
    times_BL = torch.tensor([[calendar.timegm(d.timetuple()) * unit + unit - 1 for d in dates]])
    known = torch.tensor([[True] * 4])
    given = replace(batch(), times_BL=times_BL)
    spec = replace(spec, seconds_per_unit=seconds)
    for name, codes in (
        ("hour", [d.hour for d in dates]),
        ("weekday", [(d.weekday() - 3) % 7 for d in dates]),  # the first day was a Thursday
    ):
        context = EventContext((name,), spec, 4)
        expected = context.values[name].weight[codes]
        assert torch.equal(context(given, known)[0], expected)
        assert not context(given, ~known).any()


def test_the_gap_is_unknown_after_what_is_unknown(spec):
    context = EventContext(("gap",), spec, 4)
    given = replace(batch(), times_BL=torch.tensor([[0, 50, 51, 151, 0, 200, 300]]))
    known = torch.tensor([[False, True, True, True, False, True, True]])
    buckets = [0, 15, 15]  # log(1) and log(100), in 0.301
    found_LD = context(given, known)[0]
    assert found_LD.any(dim=1).tolist() == [False, False, True, True, False, False, True]
    assert torch.equal(found_LD[[2, 3, 6]], context.values["gap"].weight[buckets])


def test_the_time_of_the_query_is_that_of_the_event_after_each_one(spec):
    context = EventContext(("time_of_query",), spec, 4)
    vectors = context.values["time_of_query"]
    torch.nn.init.normal_(vectors.increments)
    table = torch.stack([vectors.increments[: bucket + 1].sum(dim=0) for bucket in range(17)])
    ids = [0, 0, 4, 5, 6, 7, 8]
    for turned in (0, 2):  # padding on the left, and behind the events

        def row(values, turned=turned):
            return torch.tensor([values[turned:] + values[:turned]])

        given = replace(
            batch(), item_ids_BL=row(ids), times_BL=row([0, 0, 50, 51, 151, 151, 300]),
            target_time_B=torch.tensor([400]),
        )  # fmt: skip
        known = row([False, False, True, True, True, True, True])
        wanted = torch.zeros(7, 4)
        wanted[2:] = table[[0, 15, 0, 16, 15]]  # log of 1, 100, 1, 149 and 100, in 0.301
        torch.testing.assert_close(context(given, known)[0], row(wanted.tolist())[0])
        hidden = row([False, False, True, True, False, True, True])
        wanted[3:5] = 0  # the event after it is hidden, or it is hidden itself
        torch.testing.assert_close(context(given, hidden)[0], row(wanted.tolist())[0])


@pytest.mark.parametrize("kind", slow_after(0, ["esasrec", "sasrec", "gru4rec", "hstu"]))
def test_a_model_may_know_the_time_of_the_query_and_nothing_else_that_is_later(kind):
    settings = MODELS[kind](width=16, dropout=0.0, event_context=("gap", "time_of_query"))
    assert settings.uses_time_of_query
    assert settings.label("softmax").endswith("gap time_of_query")
    check_model(settings)


def test_hidden_events_have_no_time():
    with pytest.raises(ConfigError, match="event_context has time_of_query"):
        MODELS["bert4rec"](event_context=("time_of_query",))


@each_kind
def test_the_label_names_them(kind):
    config = MODELS[kind]
    assert "both" not in config().label("softmax")
    told = config(side_information="both", rating=True, event_context=("gap", "hour"))
    assert told.label("softmax").endswith(" both rating gap hour")
    told = config(side_information="item", scores_features=False)
    assert told.label("softmax").endswith(" item input only")


@pytest.mark.parametrize(
    ("given", "lacking", "words"),
    [
        (
            {"side_information": "both"},
            {"user_features": ()},
            "user features, the shards have none",
        ),
        (
            {"side_information": "item"},
            {"item_features": ()},
            "item features, the shards have none",
        ),
        ({"rating": True}, {"has_ratings": False}, "needs ratings"),
        ({"event_context": ("gap",)}, {"has_times": False}, "needs the times"),
        ({"event_context": ("gap", "gap")}, {}, "names gap twice"),
        ({"event_context": ("hour",)}, {"time_unit": ""}, "hour needs the unit"),
    ],
)
def test_what_the_data_lacks_is_refused(made, given, lacking, words):
    config = MODELS["sasrec"](**given)
    with pytest.raises(ConfigError, match=words):
        config.check(replace(made[0], **lacking))
