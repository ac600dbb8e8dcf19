"""All engines on two workers: the same losses, whatever is sharded and however it is resumed."""

import pytest

from tests import engine_runs
from tests.engine_runs import CHAIN, PART, SHORT

STEPS = 12
CLOSELY = ("fsdp", "ddp", "ZeRO-3, offloaded")
"""The engines that are looked at closely; the chain goes through all."""


@pytest.fixture(scope="module")
def chained(alone, engine_windows, pair, tmp_path_factory):
    """What two workers found; they go on with what one process has left."""
    start, end = (tmp_path_factory.mktemp("chain") / name for name in ("start", "end"))
    alone.begin(start)
    found, _ = pair.run(engine_runs.everything, engine_windows, {}, start, end, seconds=500)
    return {**found, "end": end}


@pytest.fixture(scope="module")
def courses(engine_windows, pair):
    """What they found of one engine at a time."""
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


def test_a_run_moves_from_one_process_through_all_engines_on_two_workers_and_back(chained, alone):
    assert len(chained["chain"]) == PART * len(CHAIN)
    alone.same_chain(chained["chain"], chained["end"])
