"""The cost model: coefficients from points that are known, counted work, and its page."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.tasks.next_items.task import NextItems
from tests.histories_factory import training_batch, training_rows
from tests.small_models import SPEC

BENCHMARKS = Path(__file__).parents[3] / "jobs" / "benchmarks"
RESULTS = BENCHMARKS / "results"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    """The script as a module."""
    found = importlib.util.spec_from_file_location("cost_model", BENCHMARKS / "cost_model.py")
    module = importlib.util.module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cost_model", module)  # dataclasses look it up
        found.loader.exec_module(module)
        yield module


def works(model):
    """Sizes that vary each quantity by itself."""
    usual = model.Work(
        ratings=10**6, items=5000, width=64, layers=2, length=50, positions=2000, drawn=256,
        workers=2,
    )  # fmt: skip
    changes = [
        {}, {"ratings": 10**4}, {"ratings": 10**9}, {"items": 10**6}, {"width": 16}, {"width": 512},
        {"layers": 8}, {"length": 5}, {"length": 400}, {"positions": 10}, {"positions": 10**5},
        {"drawn": 1}, {"drawn": 4000}, {"workers": 64},
    ]  # fmt: skip
    return [replace(usual, **change) for change in changes]


def points(model, part, rates, works):
    return [
        model.Point(part, model.FIT, work, sum(rates[n] * q for n, q in counted.items()))
        for work, counted in ((work, model.PARTS[part](work)) for work in works)
    ]


@pytest.mark.parametrize("part", ["windowing", "feed", "step", "exchange", "checkpoint"])
def test_the_coefficients_that_made_points_are_found_again(part, model):
    names = list(model.PARTS[part](model.Work()))
    rates = {name: 3.0 * 10.0**-i for i, name in enumerate(names)}
    rates[names[-1]] = 2e-9  # of the largest quantity
    made = points(model, part, rates, works(model))
    strangers = [
        replace(made[0], use=model.HELD_OUT, seconds=1e9), replace(made[0], part="another")
    ]  # fmt: skip
    fit = model.fit(part, [*made, *strangers])
    assert fit.coefficients == pytest.approx(rates, rel=1e-5)
    assert fit.worst < 1e-6
    assert fit.points == len(made)
    other = model.Work(ratings=77, items=33, width=8, layers=1, length=9, positions=18, workers=3)
    expected = points(model, part, rates, [other])[0].seconds
    assert fit.seconds(other) == pytest.approx(expected, rel=1e-5)


def test_no_part_has_a_negative_cost(model):
    made = [
        model.Point("checkpoint", model.FIT, model.Work(items=items, width=8), seconds)
        for items, seconds in ((100, 3.0), (1000, 2.0), (10_000, 1.0))
    ]
    fit = model.fit("checkpoint", made)
    assert fit.coefficients["bytes"] == 0.0
    assert 0.5 < fit.worst < 1.0, "and the worst point is told"


@pytest.mark.parametrize(("part", "least"), [("windowing", 4), ("step", 6)])
def test_too_few_points_are_refused(part, least, model):
    made = points(model, part, dict.fromkeys(model.PARTS[part](model.Work()), 1.0), works(model))
    with pytest.raises(ValueError, match=f"{part} has {least - 1} points .* at least {least}$"):
        model.fit(part, made[: least - 1])
    model.fit(part, made[:least])


def test_an_epoch_is_its_steps_and_a_checkpoint(model):
    made = {
        part: model.Fit(part, dict.fromkeys(model.PARTS[part](model.Work()), 0.0), 0.0, 9)
        for part in model.PARTS
    }
    for seconds, (part, name) in enumerate(
        [("feed", "batch"), ("step", "step"), ("exchange", "message"), ("checkpoint", "start")], 1
    ):
        made[part].coefficients[name] = float(seconds)
    work = model.Work(workers=2, steps=10, ratings=5)
    point = model.Point(model.EPOCH, model.HELD_OUT, work, 1.0)
    assert model.predicted(made, point) == 2 * 10 * (1 + 2 + 3) + 4
    alone = replace(point, work=replace(work, workers=1))
    assert model.predicted(made, alone) == 10 * (1 + 2) + 4


def small_task(model):
    """A model and the sizes of its work."""
    work = model.Work(items=90, width=32, layers=3, length=12, drawn=20)
    spec = replace(
        SPEC, num_items=90, input_length=12, item_features_VF=torch.zeros(91, 0),
        target_counts_C=torch.ones(90, dtype=torch.int64),
    )  # fmt: skip
    config = SasrecConfig(width=32, num_layers=3, dropout=0.0)
    return NextItems(config, SampledSoftmaxConfig(num_negatives=20), spec), work


def test_the_weights_are_those_of_the_model(model):
    task, work = small_task(model)
    padding = 32
    assert sum(p.numel() for p in task.parameters()) == work.numbers + padding


@pytest.mark.slow
def test_the_operations_are_those_that_torch_counts(model):
    """Those of attention it does not see on a CPU; without them it counts a history of length 0."""
    task, work = small_task(model)
    batch = training_batch(training_rows(40, longest=13, items=90), 12)
    with FlopCounterMode(display=False) as counter:
        task(batch).loss_B.sum().backward()
    layers = replace(work, positions=batch.item_ids_BL.numel(), length=0).encoder_flops
    targets = int((batch.step_target_ids_BL > 0).sum())
    scores = replace(work, positions=targets).score_flops
    assert counter.get_total_flops() == pytest.approx(layers + scores, rel=0.01)


def test_ten_times_the_ratings_take_ten_times_the_steps(model):
    made = model.read(RESULTS / "cost_points.csv")
    fits = {part: model.fit(part, made) for part in model.PARTS}
    work = model.Work(
        ratings=10**9, items=10**6, width=64, layers=2, length=50, positions=8192, drawn=256
    )
    few, many = (
        model.answer(fits, replace(work, ratings=n), model.Cluster()) for n in (10**10, 10**11)
    )
    assert many.steps == math.ceil(10**11 / (8192 * 64))
    assert many.step == few.step
    assert many.windowing_driver == pytest.approx(10 * few.windowing_driver)
    assert many.windowing_cores > 9 * few.windowing_cores


def test_the_page_shows_what_the_script_prints(model, monkeypatch, capsys):
    place = RESULTS / "cost_points.csv"
    monkeypatch.setattr(sys, "argv", ["cost_model.py", "--points", str(place)])
    model.main()
    page = (RESULTS / "cost_model.md").read_text(encoding="utf-8")
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in page
