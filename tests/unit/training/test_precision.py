"""`engine.precision=auto`: settled once, by all workers together, and kept."""

from dataclasses import replace

import pytest
import torch

from itrec_dist import config
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import ConfigError
from itrec_dist.inference.load import restore
from itrec_dist.runs.checkpoints.format import CONFIG_FILE
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.fetched import local_run
from itrec_dist.storage.uri import Uri
from itrec_dist.system import arithmetic
from itrec_dist.training import resume
from itrec_dist.training.config import RunConfig, check, prepare
from itrec_dist.training.precision import is_same, precision_of, settle
from itrec_dist.training.setup import RunSetup
from itrec_dist.training.worker import run_worker
from tests import object_store
from tests.stopped_runs import config_of, go_on, losses, make_data, start

pytestmark = pytest.mark.usefixtures("one_thread")

OLD, NEW = frozenset({"fp32"}), frozenset({"fp32", "bf16"})


class Pair:
    """Worker `rank` of two, whose peer's devices lack `others` of fp32, bf16 and fp16."""

    world_size = 2
    device = torch.device("cpu")

    def __init__(self, rank, others=(0.0, 0.0, 0.0), shared=None):
        self.rank, self._others, self._shared = rank, torch.tensor(others), shared

    def sum(self, tensor):
        return tensor + self._others

    def share(self, value):
        return value if self.rank == 0 else self._shared


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("precision") / "shards")


@pytest.fixture
def run(data, tmp_path):
    """A run that was asked for with `auto`, prepared and not begun."""
    run = config_of(data, tmp_path / "run", engine={"precision": "auto"})
    prepare(run, check(run, 1), {})
    return run


def asked(run, precision):
    return replace(run, engine=replace(run.engine, precision=precision))


@pytest.mark.parametrize(("able", "taken"), [(OLD, "fp32"), (NEW, "bf16")])
def test_auto_takes_what_the_device_computes_in_and_writes_it_down(able, taken, run):
    settled, note = settle(run, Pair(0), able)
    assert (settled, note) == (asked(run, taken), None)
    assert config.load(RunConfig, RunDirectory(run.out).config) == settled


def test_the_least_able_worker_decides_for_all(run):
    lacks_bf16 = (0.0, 1.0, 1.0)
    assert settle(run, Pair(1), NEW)[0].engine.precision == "bf16"
    assert precision_of(RunDirectory(run.out)) is None  # worker 0 alone writes
    assert settle(run, Pair(1, lacks_bf16), NEW)[0].engine.precision == "fp32"
    assert settle(run, Pair(0, lacks_bf16), NEW)[0].engine.precision == "fp32"


@pytest.mark.parametrize(("began", "goes_on"), [(OLD, NEW), (NEW, OLD)])
def test_workers_that_start_again_elsewhere_keep_what_was_settled(began, goes_on, run):
    first, _ = settle(run, Pair(0), began)
    again, note = settle(run, Pair(0), goes_on)
    assert again == first
    kept, other = arithmetic.fastest(began), arithmetic.fastest(goes_on)
    assert kept in note
    assert other in note
    assert settle(run, Pair(1, shared=kept), goes_on) == (again, note)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_is_emulated_is_named_beside_the_fast_one(precision, run):
    settled, note = settle(asked(run, precision), Pair(0), OLD)
    assert settled.engine.precision == precision  # a choice is a choice
    assert f"engine.precision={precision} is emulated" in note
    assert "engine.precision=fp32 is" in note
    assert "\n" not in note
    assert settle(asked(run, "fp32"), Pair(0), OLD)[1] is None


def test_a_run_with_auto_says_what_it_took_and_is_resumed_exactly(data, tmp_path):
    auto = {"engine": {"precision": "auto"}}
    whole = start(config_of(data, tmp_path / "whole", **auto))
    taken = arithmetic.fastest(arithmetic.native(torch.device("cpu")))
    assert [e["precision"] for e in whole.events("start")] == [taken]
    assert restore(whole.path).run.engine.precision == taken

    broken = config_of(data, tmp_path / "broken", **auto)
    start(broken, stop_at=7)
    resumed = go_on(broken)
    assert losses(resumed) == losses(whole)
    assert [e["precision"] for e in resumed.events("start")] == [taken, taken]
    assert precision_of(resumed) == taken


def test_what_was_settled_stands_at_the_uri_of_a_run(data, tmp_path, monkeypatch):
    object_store.machine(monkeypatch, tmp_path / "machine")
    place = Uri(f"file://{tmp_path}/store/run")
    run = replace(config_of(data, tmp_path, engine={"precision": "auto"}), out=place)
    context = LocalContext(torch.device("cpu"), threads=1)
    with RunSetup(run, "refuse") as claim:
        claim.prepare(claim.check(1))
        run_worker(run, context)
    taken = arithmetic.fastest(arithmetic.native(context.device))
    assert config.load(RunConfig, local_run(place) / "config.yaml") == asked(run, taken)


@pytest.mark.parametrize("began", ["fp32", "bf16"])
def test_auto_goes_on_with_what_a_run_began_with_and_a_choice_must_be_that(began, data, tmp_path):
    other = {"fp32": "bf16", "bf16": "fp32"}[began]
    run = config_of(data, tmp_path / "run", engine={"precision": began})
    directory = start(run, stop_at=7)
    auto = asked(run, "auto")
    with pytest.raises(ConfigError, match=rf"engine\.precision={other} \(it began with {began}\)"):
        resume.check(asked(run, other), check(run, 1))
    resume.check(auto, check(auto, 1))
    resume.prepare(auto, {})
    assert config.load(RunConfig, directory.config) == run
    resumed = go_on(auto)
    assert [e["precision"] for e in resumed.events("start")] == [began, began]
    last = config.load(RunConfig, resumed.checkpoints / "last" / CONFIG_FILE)
    assert last == run


def test_a_complete_run_is_known_again_by_auto_and_by_its_own_precision_alone(run):
    stored = asked(run, "bf16")
    assert is_same(stored, run)
    assert is_same(stored, stored)
    assert not is_same(stored, asked(run, "fp32"))
    assert not is_same(stored, replace(run, seed=run.seed + 1))
