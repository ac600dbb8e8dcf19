"""All engines on two workers: the same losses, whatever is sharded and however it is resumed."""

import pytest

from tests import engine_runs
from tests.engine_runs import CHAIN, PART, SHORT

COURSES = {"ddp": 12, "ZeRO-3, offloaded": 12, "fsdp": 12}
"""Updates of the engines that are looked at closely; the chain goes through all."""


@pytest.fixture(scope="module")
def found(alone, engine_windows, pair, tmp_path_factory):
    """What two workers found; they go on with what one process has left."""
    start, end = (tmp_path_factory.mktemp("chain") / name for name in ("start", "end"))
    alone.begin(start)
    found, _ = pair.run(engine_runs.everything, engine_windows, COURSES, start, end, seconds=500)
    return {**found, "end": end}


@pytest.mark.parametrize("name", COURSES)
def test_every_engine_gives_the_losses_of_the_plain_one(name, found, alone):
    alone.same_course(found[name], COURSES[name])


@pytest.mark.parametrize("name", COURSES)
def test_a_skipped_batch_leaves_no_trace(name, found):
    one = found[name]
    assert one["left out"] == pytest.approx(one["course"].losses[:SHORT], rel=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", COURSES)
def test_low_precision_means_the_same_under_every_engine(name, precision, found, alone):
    alone.same_low_precision(found[name], precision)


@pytest.mark.parametrize("name", COURSES)
def test_an_update_that_overflows_fp16_is_skipped(name, found):
    missed, following = found[name]["overflow"]
    assert missed == following, "the schedule counts real updates"


def test_a_run_moves_from_one_process_through_all_engines_on_two_workers_and_back(found, alone):
    assert len(found["chain"]) == PART * len(CHAIN)
    alone.same_chain(found["chain"], found["end"])
