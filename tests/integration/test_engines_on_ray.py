"""All engines on workers of Ray: the same losses, whatever is sharded and however it is resumed."""

import pytest

from itrec_dist import config
from itrec_dist.launch.cluster import own_signals
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.training.config import RunConfig
from tests import engine_runs
from tests.engine_runs import ALONE, CHAIN, ENGINES, PART, SHORT, STEPS
from tests.fixtures import DEBUG_RECIPE, TRAINED_EPOCHS, train_on_two
from tests.stopped_runs import start

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
CASES = [*((name, 2) for name in ENGINES), *((name, 1) for name in ALONE)]


def fit(num_workers, engine_windows, folder, start):
    """What `num_workers` workers of Ray Train found, and where they left their state."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    end = folder / f"after-{num_workers}"
    trainer = TorchTrainer(
        engine_runs.under_ray,
        train_loop_config={"shards": engine_windows, "start": start, "end": end},
        scaling_config=ray.train.ScalingConfig(num_workers=num_workers),
        torch_config=TorchConfig(backend="gloo"),
        run_config=ray.train.RunConfig(name=f"{num_workers}", storage_path=str(folder / "ray")),
    )
    with own_signals():  # Ctrl-C is this process's again after it
        return trainer.fit().return_value, end


@pytest.fixture(scope="module")
def found(engine_windows, tmp_path_factory):
    """By number of workers; two workers go on with what one has left."""
    folder = tmp_path_factory.mktemp("fits")
    one, end = fit(1, engine_windows, folder, start=None)
    two, end = fit(2, engine_windows, folder, start=end)
    return {1: one, 2: two, "end": end}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_workers"), CASES)
def test_every_engine_on_ray_does_what_the_plain_one_does(name, num_workers, found, alone):
    one = found[num_workers][name]
    alone.same_course(one, STEPS)
    assert one["left out"] == pytest.approx(one["course"].losses[:SHORT], rel=1e-6)
    for precision in ("bf16", "fp16"):
        alone.same_low_precision(one, precision)
    missed, following = one["overflow"]
    assert missed == following, "the schedule counts real updates"


@pytest.mark.slow
def test_a_run_moves_from_one_worker_of_ray_to_two_and_back(found, alone):
    assert len(found[1]["chain"]) == len(found[2]["chain"]) == PART * len(CHAIN)
    alone.same_chain(found[1]["chain"] + found[2]["chain"], found["end"])


def same_epochs(run, other):
    epochs = {event["epoch"]: event for event in run.events("epoch")}
    assert list(epochs) == [1, 2, 3, 4]
    for one in other.events("epoch"):
        assert epochs[one["epoch"]]["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert epochs[one["epoch"]]["step"] == one["step"]


def made_by(run):
    made = run.read_json(run.checkpoints / "last" / "state" / "state.json")["made"]
    return made["engine"], made["world_size"]


@pytest.mark.slow
def test_the_command_trains_under_deepspeed(trained, shards, tmp_path, itrec):
    zero = ["--engine.name", "deepspeed", "--engine.deepspeed.stage", 3]
    code, shown, err = train_on_two(shards, tmp_path / "run", *zero)
    assert (code, err) == (0, "")
    assert "epoch   4/4" in shown
    run = RunDirectory(tmp_path / "run")
    assert run.is_complete
    assert run.events("start")[0]["engine"] == "deepspeed"
    described = RunDirectory(trained).events("start")[0]
    assert run.events("start")[0]["num_parameters"] == described["num_parameters"]
    assert made_by(run) == ("deepspeed", 2)
    same_epochs(run, RunDirectory(trained))
    assert code == itrec("evaluate", tmp_path / "run")[0]


@pytest.mark.slow
def test_the_command_resumes_a_deepspeed_run_with_ddp(trained, shards, tmp_path):
    out = tmp_path / "run"
    begun = config.load(
        RunConfig, DEBUG_RECIPE,
        [
            f"shards={shards}", f"out={out}", f"training.epochs={TRAINED_EPOCHS}",
            "checkpoints.steps=5", "training.log_seconds=0", "engine.name=deepspeed",
            "engine.deepspeed.stage=2",
        ],
    )  # fmt: skip
    steps = RunDirectory(trained).events("start")[0]["steps_per_epoch"]
    start(begun, stop_at=steps + 7)
    run = RunDirectory(out)
    assert made_by(run) == ("deepspeed", 1)
    code, shown, err = train_on_two(shards, out, "--engine.name", "ddp", "--resume")
    assert (code, err) == (0, "")
    assert "2 workers in place of 1" in shown
    assert made_by(run) == ("ddp", 2)
    same_epochs(run, RunDirectory(trained))
