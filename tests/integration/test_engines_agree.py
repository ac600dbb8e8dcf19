"""All engines on two workers: the same losses, whatever is sharded and however it is resumed."""

import pytest

from tests import engine_runs
from tests.cases import slow_after
from tests.engine_runs import CHAIN, PART, SHORT

STEPS = 12
CLOSELY = ("fsdp", "ddp", "ZeRO-3, offloaded")
"""The engines that are looked at closely; the chain goes through all."""
QUICK, SLOW = CLOSELY[:1], CLOSELY[1:]


@pytest.fixture(scope="module")
def found(alone, engine_windows, pair, tmp_path_factory):
    """What two workers found; they go on with what one process has left."""
    start, end = (tmp_path_factory.mktemp("chain") / name for name in ("start", "end"))
    alone.begin(start)
    courses = dict.fromkeys(QUICK, STEPS)
    found, _ = pair.run(engine_runs.everything, engine_windows, courses, start, end, seconds=500)
    return {**found, "end": end}


@pytest.fixture(scope="module")
def found_slowly(engine_windows, pair):
    """What they found of the other engines."""
    courses = dict.fromkeys(SLOW, STEPS)
    found, _ = pair.run(engine_runs.all_courses, engine_windows, courses, seconds=500)
    return found


@pytest.fixture
def course(name, request):
    """What two workers found of one engine."""
    return request.getfixturevalue("found" if name in QUICK else "found_slowly")[name]


@pytest.mark.parametrize("name", slow_after(1, CLOSELY))
def test_every_engine_gives_the_losses_of_the_plain_one(course, alone):
    alone.same_course(course, STEPS)


@pytest.mark.parametrize("name", slow_after(1, CLOSELY))
def test_a_skipped_batch_leaves_no_trace(course):
    assert course["left out"] == pytest.approx(course["course"].losses[:SHORT], rel=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", slow_after(1, CLOSELY))
def test_low_precision_means_the_same_under_every_engine(course, precision, alone):
    alone.same_low_precision(course, precision)


@pytest.mark.parametrize("name", slow_after(1, CLOSELY))
def test_an_update_that_overflows_fp16_is_skipped(course):
    missed, following = course["overflow"]
    assert missed == following, "the schedule counts real updates"


def test_a_run_moves_from_one_process_through_all_engines_on_two_workers_and_back(found, alone):
    assert len(found["chain"]) == PART * len(CHAIN)
    alone.same_chain(found["chain"], found["end"])
