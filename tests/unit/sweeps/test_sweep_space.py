"""The search space: every mistake is refused by name, and draws are the same for the same seed."""

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest

from itrec_dist.errors import ConfigError
from itrec_dist.sweeps import space
from itrec_dist.training.config import RunConfig

BASE = RunConfig(shards=Path("shards"), out=Path("out"))


def parse(raw):
    return space.parse(raw, BASE)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({}, "space is empty"),
        ({"los": {"choice": ["ce"]}}, "no setting los (did you mean loss?)"),
        ({"optimizer": {"choice": [1]}}, "optimizer is a section"),
        ({"seed": {"choice": [1, 2]}}, "seeds are averaged, not searched"),
        ({"cluster.threads": {"choice": [1]}}, "`resources` and the base"),
        ({"evaluation.judge_test": {"choice": [True]}}, "cannot be searched"),
        ({"loss": {"choice": ["bcd"]}}, "space.loss must be one of 'bce'"),
        ({"loss": {"choice": []}}, "at least one value"),
        ({"loss": {"choice": ["ce", "ce"]}}, "names 'ce' twice"),
        ({"loss": {"uniform": [0, 1]}}, "the setting takes none"),
        ({"loss": ["ce"]}, "must hold one of grid, choice"),
        ({"loss": {"grid": ["ce"], "choice": ["ce"]}}, "must hold one of grid, choice"),
        ({"model.width": {"choice": ["wide"]}}, "space.model.width must be a whole number"),
        ({"model.width": {"uniform": [16, 32]}}, "write integer"),
        ({"model.width": {"integer": [32, 16]}}, "is empty"),
        ({"model.width": {"integer": [16.5, 32]}}, "not a whole number"),
        ({"model.width": {"integer": [16]}}, "two numbers"),
        ({"model.repeat_bias": {"integer": [0, 1]}}, "the setting takes none"),
        ({"model.dropout": {"uniform": [0, 0.5], "steps": 0.1}}, "no option 'steps'"),
        ({"model.dropout": {"uniform": [0, 0.5], "step": 0.6}}, "at most the range's width 0.5"),
        ({"model.dropout": {"uniform": [0, "x"]}}, "holds 'x', which is not a number"),
        ({"loss": {"choice": ["ce"], "step": 1}}, "belongs to ranges"),
        ({"optimizer.learning_rate": {"loguniform": [0, 1]}}, "a logarithm needs numbers above 0"),
        ({"loss": {"choice": ["ce"], "when": {"model.width": 3}}}, "not another dimension"),
        (
            {"loss": {"choice": ["ce"]}, "model.width": {"choice": [8], "when": {"loss": "bce"}}},
            "never has that value; it has: ce",
        ),
        (
            {"model.dropout": {"uniform": [0, 0.5]},
             "model.width": {"choice": [8], "when": {"model.dropout": 0.1}}},
            "values cannot be listed",
        ),
        (
            {"model.width": {"choice": [8], "when": {"model.num_layers": 1}},
             "model.num_layers": {"choice": [1], "when": {"model.width": 8}}},
            "depend on each other",
        ),
        (
            {"loss": {"choice": ["ce"]}, "model.width": {"grid": [8], "when": {"loss": "ce"}}},
            "is a grid that depends on loss, which is drawn",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_name(raw, told):
    with pytest.raises(ConfigError) as refusal:
        parse(raw)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_values_take_the_type_of_their_setting():
    found = parse({
        "optimizer.learning_rate": {"loguniform": ["1e-4", "1e-2"]},
        "optimizer.clip_norm": {"choice": [None, 1]},
        "model.width": {"choice": ["64"]},
    })  # fmt: skip
    assert found["optimizer.learning_rate"].low == 1e-4
    assert found["optimizer.clip_norm"].values == (None, 1.0)
    assert found["model.width"].values == (64,)


def test_ranges_hold_their_ends_and_steps():
    found = parse({
        "model.dropout": {"uniform": [0.0, 0.35], "step": 0.1},
        "model.num_layers": {"integer": [1, 6], "step": 2},
    })  # fmt: skip
    assert found["model.dropout"].values == (0.0, 0.1, 0.2, 0.3)
    assert found["model.num_layers"].values == (1, 3, 5)


def test_the_grid_is_every_combination_that_exists_once():
    found = parse({
        "model.feedforward_width": {"choice": [64, 128], "when": {"model.num_layers": [2, 3]}},
        "model.num_layers": {"integer": [1, 3]},
        "loss": {"grid": ["ce", "bce"]},
    })  # fmt: skip
    twin = {
        (loss, layers, width if layers > 1 else None)
        for loss in ("ce", "bce") for layers in (1, 2, 3) for width in (64, 128)
    }  # fmt: skip
    listed = [
        (c["loss"], c["model.num_layers"], c.get("model.feedforward_width"))
        for c in found.combinations()
    ]
    assert len(listed) == len(set(listed)) == 10
    assert set(listed) == twin


def test_draws_stay_in_their_ranges_and_the_grid_comes_round_evenly():
    found = parse({
        "loss": {"grid": ["ce", "bce", "softmax"]},
        "model.side_information": {"grid": ["none", "both"]},
        "optimizer.learning_rate": {"loguniform": [1e-4, 1e-2]},
        "model.dropout": {"uniform": [0.1, 0.3]},
        "model.width": {"integer": [16, 256], "log": True, "step": 16},
        "model.feedforward_width": {"choice": [64], "when": {"loss": "ce"}},
    })  # fmt: skip
    drawn = list(itertools.islice(found.draws(0), 600))
    cells = Counter((d["loss"], d["model.side_information"]) for d in drawn)
    assert set(cells.values()) == {100}
    rates = [d["optimizer.learning_rate"] for d in drawn]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-2
    # Evenly over the logarithm: half of them lie below the geometric middle, not 9 % of them.
    assert sum(rate < 1e-3 for rate in rates) / 600 == pytest.approx(0.5, abs=0.08)
    assert all(0.1 <= d["model.dropout"] <= 0.3 for d in drawn)
    widths = [d["model.width"] for d in drawn]
    assert all(width % 16 == 0 and 16 <= width <= 256 for width in widths)
    middle = math.sqrt(16 * 256)
    assert sum(width < middle for width in widths) / 600 == pytest.approx(0.5, abs=0.1)
    assert all(("model.feedforward_width" in d) == (d["loss"] == "ce") for d in drawn)


def test_the_same_seed_draws_the_same_however_many_are_taken():
    found = parse({"optimizer.learning_rate": {"uniform": [0.001, 0.01]}})
    few, many = list(itertools.islice(found.draws(3), 5)), list(itertools.islice(found.draws(3), 9))
    assert many[:5] == few
    assert list(itertools.islice(found.draws(4), 5)) != few


def test_a_small_space_is_exhausted_before_anything_comes_again():
    found = parse({"loss": {"choice": ["ce", "bce", "softmax"]}, "model.num_layers": {"integer":
                   [1, 2]}})  # fmt: skip
    drawn = [tuple(d.values()) for d in itertools.islice(found.draws(0), 6)]
    assert len(set(drawn)) == 6
