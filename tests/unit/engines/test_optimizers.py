import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from itrec_dist.data import spec as data_spec
from itrec_dist.data.shards import reader
from itrec_dist.engines.optimizers import (
    OptimizerConfig,
    build_optimizer,
    build_schedule,
    rate_factor,
)
from itrec_dist.losses.bce import BceConfig
from itrec_dist.models.ite import ITEConfig
from itrec_dist.tasks.next_items.task import NextItems
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")


def rates(total, **settings):
    config = OptimizerConfig(learning_rate=1.0, **settings)
    factor = rate_factor(config, total)
    return [factor(step) for step in range(total)]


def test_one_cycle_is_torchs_of_one_step_more():
    """torch's starts with the lowest rate; here the first update is a step up already."""
    total, peak = 50, 3e-3
    config = OptimizerConfig(learning_rate=peak, warmup_fraction=0.2)
    ours = [peak * rate_factor(config, total)(step) for step in range(total)]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    # torch counts the steps between its first and last rate: one more step, and the rise ends
    # at the same one.
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=peak, total_steps=total + 1, pct_start=11 / 51, cycle_momentum=False
    )
    expected = []
    for _ in range(total + 1):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        if len(expected) <= total:
            theirs.step()
    rise, fall = 10, 40
    assert ours[:rise] == pytest.approx(expected[1 : rise + 1], rel=1e-9)
    assert ours[rise:] == pytest.approx(expected[rise : rise + fall], rel=1e-9)
    assert expected[0] == pytest.approx(peak / 25)
    assert max(ours) == ours[rise - 1] == ours[rise] == peak


def test_one_cycle_by_hand():
    given = rates(8, schedule="one_cycle", warmup_fraction=0.5)
    start, end = 1 / 25, 1 / 25 / 1e4
    half = math.sqrt(0.5)
    up = [start + (1 - start) * share for share in ((1 - half) / 2, 0.5, (1 + half) / 2, 1.0)]
    down = [end + (1 - end) * share for share in (1.0, (1 + half) / 2, 0.5, (1 - half) / 2)]
    assert given == pytest.approx([*up, *down])


def test_cosine_by_hand():
    given = rates(6, schedule="cosine", warmup_fraction=1 / 3)
    half = math.sqrt(0.5)
    assert given == pytest.approx([0.5, 1.0, 1.0, (1 + half) / 2, 0.5, (1 - half) / 2])


def test_linear_by_hand():
    given = rates(10, schedule="linear", warmup_fraction=0.2)
    assert given == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_constant_by_hand():
    assert rates(6, schedule="constant", warmup_fraction=0.5) == pytest.approx(
        [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0]
    )
    assert rates(3, schedule="constant", warmup_fraction=0.0) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.99])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_every_rate_is_above_zero_and_at_most_the_peak(schedule, warmup, total):
    given = rates(total, schedule=schedule, warmup_fraction=warmup)
    assert all(0 < rate <= 1 for rate in given)
    assert max(given) == 1.0
    factor = rate_factor(OptimizerConfig(schedule=schedule, warmup_fraction=warmup), total)
    assert 0 <= factor(total + 5) <= 1, "an update too many is no error"


def test_the_schedule_sets_the_rate_of_every_group():
    config = OptimizerConfig(learning_rate=0.1, schedule="linear", warmup_fraction=0.0)
    optimizer = build_optimizer(config, nn.Linear(2, 2))
    schedule = build_schedule(config, optimizer, total_steps=4)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert seen == [[pytest.approx(rate)] * 2 for rate in (0.1, 0.075, 0.05, 0.025)]


def test_biases_norms_and_embeddings_do_not_decay(tmp_path):
    manifest = make_shards(tmp_path / "s", {"train": random_windows()})
    spec = data_spec.build(manifest, reader.read_items(tmp_path / "s", manifest))
    shape = ITEConfig(
        width=8, num_layers=1, num_heads=2, feedforward_width=8, movie_feature_width=2
    )
    task = NextItems(shape, BceConfig(), spec)
    optimizer = build_optimizer(OptimizerConfig(weight_decay=0.3), task)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    decayed = {name for name, p in task.named_parameters() if decay[id(p)] == 0.3}
    assert decayed == {
        "model.movie_projection.weight",
        "model.output.weight",
        *(
            f"model.layers.0.{part}.weight"
            for part in ("qkv", "attended", "expand", "contract")
        ),
    }  # fmt: skip
    assert all(decay[id(p)] == 0 for n, p in task.named_parameters() if n not in decayed)
    everything = OptimizerConfig(weight_decay=0.3, decay_embeddings=True)
    groups = build_optimizer(everything, task).param_groups
    spared = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    assert spared == {id(p) for p in task.parameters() if p.ndim == 1}
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(task.parameters()))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adamw", lambda p: torch.optim.AdamW(p, 0.1, (0.8, 0.9), weight_decay=0.5)),
        ("adam", lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.9), weight_decay=0.5)),
        ("sgd", lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, weight_decay=0.5)),
        ("adagrad", lambda p: torch.optim.Adagrad(p, 0.1, weight_decay=0.5)),
    ],
)
def test_an_optimiser_is_torchs_of_that_name_and_settings(name, reference):
    torch.manual_seed(0)
    ours = nn.Linear(3, 2, bias=False)
    theirs = nn.Linear(3, 2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    config = OptimizerConfig(name=name, learning_rate=0.1, weight_decay=0.5, beta1=0.8, beta2=0.9)
    for module, optimizer in (
        (ours, build_optimizer(config, ours)), (theirs, reference(theirs.parameters())),
    ):  # fmt: skip
        for step in range(4):
            module(torch.arange(3.0) + step).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(ours.weight, theirs.weight)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", math.inf),
        ("learning_rate", math.nan),
        ("weight_decay", -0.1),
        ("weight_decay", math.nan),
        ("beta1", 1.0),
        ("beta2", -0.1),
        ("beta2", math.nan),
        ("warmup_fraction", 1.0),
        ("warmup_fraction", -0.1),
        ("clip_norm", 0.0),
        ("clip_norm", math.nan),
    ],
)
def test_an_impossible_setting_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"{field}={value}"):
        replace(OptimizerConfig(), **{field: value})
