"""All engines on two workers: the same losses, whatever is sharded and however it is resumed."""

import pytest

from tests import engine_runs
from tests.cases import slow_after
from tests.engine_runs import CHAIN, PART, SHORT

STEPS = 12
CLOSELY = ("fsdp", "ddp", "ZeRO-3, offloaded")
"""The engines that are looked at closely; the long chain goes through all."""


@pytest.fixture(scope="module")
def courses(engine_windows, pair):
    """What two workers found of one engine at a time."""
    wanted = dict.fromkeys(CLOSELY, STEPS)
    found, _ = pair.run(engine_runs.all_courses, engine_windows, wanted, seconds=500)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSELY)
def test_every_engine_gives_the_losses_of_the_plain_one(name, courses, alone):
    alone.same_course(courses[name], STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSELY)
def test_a_skipped_batch_leaves_no_trace(name, courses):
    course = courses[name]
    assert course["left out"] == pytest.approx(course["course"].losses[:SHORT], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", CLOSELY)
def test_low_precision_means_the_same_under_every_engine(name, precision, courses, alone):
    alone.same_low_precision(courses[name], precision)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSELY)
def test_an_update_that_overflows_fp16_is_skipped(name, courses):
    missed, following = courses[name]["overflow"]
    assert missed == following, "the schedule counts real updates"


@pytest.mark.parametrize(
    "names", slow_after(1, [["ddp", "fsdp"], list(CHAIN)]), ids=["short", "all"]
)
def test_a_run_moves_from_one_process_through_engines_on_two_workers_and_back(
    names, alone, engine_windows, pair, tmp_path
):
    start, end = tmp_path / "start", tmp_path / "end"
    alone.begin(start)
    found, _ = pair.run(engine_runs.everything, engine_windows, {}, start, end, names, seconds=500)
    assert len(found["chain"]) == PART * len(names)
    alone.same_chain(found["chain"], end)
