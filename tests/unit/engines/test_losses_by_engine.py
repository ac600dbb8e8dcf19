"""Losses of large catalogues on two workers: under every engine what one process learns."""

import functools
import itertools
from dataclasses import replace

import pytest
import torch

from tests import loss_courses
from tests.cases import slow_after
from tests.loss_courses import EXACT, NAMES, SAMPLED, SHARDED, Course, losses_of

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = ("softmax", "sampled_softmax, mixed", "gbce")


@functools.cache
def alone(name: str, model: str, sharded: bool) -> Course:
    """The exact losses of all scores at once, over whole batches; the others with workers' draws.

    Sharded vectors do not start as those in one place do.
    """
    if name in EXACT:
        return loss_courses.on_whole_batches(replace(EXACT[name], memory="whole"), model)
    return loss_courses.in_one_process(SAMPLED[name], model, sharded=sharded)


def same_courses(workers, model, engine):
    """Both workers agree on losses and norms with one process, and the first on the weights."""
    for found in workers:
        for name, course in found.items():
            expected = alone(name, model, engine == SHARDED)
            assert course.losses == pytest.approx(expected.losses, rel=1e-5), name
            assert course.norms == pytest.approx(expected.norms, rel=1e-4), name
    for name, course in workers[0].items():
        expected = alone(name, model, engine == SHARDED).weights
        assert course.weights.keys() == expected.keys()
        for weight, value in expected.items():
            torch.testing.assert_close(course.weights[weight], value, atol=1e-6, rtol=1e-4)


def test_the_courses_are_worth_a_comparison():
    """Each loss leaves other weights, gradients are clipped, one worker has a batch of no rows."""
    courses = [alone(name, "sasrec", False) for name in FEW]
    ends = [course.weights["item_bias"] for course in courses]
    assert not any(torch.allclose(a, b) for a, b in itertools.combinations(ends, 2))
    assert all(max(course.norms) > 1.0 for course in courses)
    shares = [list(loss_courses.batches("sasrec", rank, 2)) for rank in (0, 1)]
    assert any(not batch.weight_B.any() for batch in shares[1])
    assert all(batch.weight_B.any() for batch in shares[0])


@pytest.mark.parametrize(
    ("engine", "names"), slow_after(1, [("ddp", FEW), *((name, None) for name in NAMES)])
)
def test_a_transformer_learns_on_two_workers_what_it_learns_alone(engine, names, pair):
    names = names or tuple(losses_of(engine))
    found = pair.run(loss_courses.on_workers, engine, names, "sasrec")
    assert set(found[0]) == set(names)
    same_courses(found, "sasrec", engine)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ZeRO-3", "fsdp"])
def test_so_does_one_with_output_vectors_of_their_own(engine, pair):
    found = pair.run(loss_courses.on_workers, engine, ("bce", "ce", *FEW), "ite")
    same_courses(found, "ite", engine)
