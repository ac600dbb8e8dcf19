"""The choice of an engine, its settings and what it refuses; what it holds, handed on."""

import warnings
from dataclasses import replace
from typing import get_args

import pytest
import torch

from itrec_dist import engines
from itrec_dist.distributed.context import LocalContext
from itrec_dist.engines.deepspeed_settings import DeepSpeedConfig, Sizes, derive
from itrec_dist.engines.engine import EngineConfig, EngineName
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.precision import LossScale
from itrec_dist.errors import CheckpointError, ConfigError, EnvironmentProblem, TrainingError
from itrec_dist.training import config as training_config
from tests import engine_runs
from tests.cases import slow_after
from tests.engine_runs import CPU, ENGINES, Runs
from tests.stopped_runs import config_of, make_data

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = Sizes(parameters=1000, longest_vector=30)


def test_every_name_is_an_engine_that_calls_itself_so():
    assert set(get_args(EngineName)) == {"auto", *engines.KINDS}
    for name in engines.KINDS:
        assert engines.kind_of(EngineConfig(name), 1).name == name


@pytest.mark.parametrize(("num_workers", "name"), [(1, "single"), (2, "ddp"), (5, "ddp")])
def test_auto_follows_the_number_of_workers(num_workers, name):
    assert engines.kind_of(EngineConfig(), num_workers).name == name


# ------------------------------------------------------------------- DeepSpeed's configuration


def test_the_settings_become_deepspeeds_own():
    config = DeepSpeedConfig(3, offload_optimizer=True, offload_parameters=True)
    cpu = {"device": "cpu", "pin_memory": True}
    assert derive(config, 4, 0.5, SIZES, pin_memory=True) == {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 0.5,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": 3,
            "reduce_bucket_size": 1000,
            "stage3_param_persistence_threshold": 30,
            "offload_optimizer": cpu,
            "offload_param": cpu,
        },
    }


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_unset_options_are_not_configured(stage):
    found = derive(DeepSpeedConfig(stage), 1, None, SIZES, pin_memory=False)
    assert found["gradient_clipping"] == 0.0
    assert found["zero_optimization"]["stage"] == stage
    assert not [key for key in found["zero_optimization"] if key.startswith("offload")]


def test_buckets_do_not_outgrow_memory():
    sizes = Sizes(parameters=7_000_000_000, longest_vector=1)
    zero = derive(DeepSpeedConfig(), 1, None, sizes, pin_memory=False)["zero_optimization"]
    assert zero["reduce_bucket_size"] == 500_000_000


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((0, True, False), "offload_optimizer needs engine.deepspeed.stage 1, 2 or 3, not 0"),
        ((2, False, True), "offload_parameters needs engine.deepspeed.stage 3, not 2"),
    ],
)
def test_offloading_what_a_stage_does_not_shard_is_refused(given, told):
    with pytest.raises(ValueError, match=told):
        DeepSpeedConfig(*given)


@pytest.mark.parametrize(
    ("engine", "optimizer", "num_workers", "told"),
    [
        (EngineConfig("single"), {}, 2, "trains in one worker, 2 were requested"),
        (EngineConfig("ddp", compile="cuda_graphs"), {}, 2, "works only with engine.name=single"),
        (EngineConfig("auto", compile="cuda_graphs"), {}, 2, "works only with engine.name=single"),
        (EngineConfig("fsdp", compile="default"), {}, 2, "does not work with engine.name=fsdp"),
        (EngineConfig("deepspeed", compile="default"), {}, 1, "with engine.name=deepspeed"),
        (EngineConfig("deepspeed"), {"name": "adagrad"}, 1, "adagrad loses its groups"),
    ],
)
def test_settings_an_engine_cannot_honour_are_refused_before_any_worker_starts(
    engine, optimizer, num_workers, told, tmp_path
):
    config = config_of(make_data(tmp_path / "shards"), tmp_path / "run", optimizer=optimizer)
    with pytest.raises(ConfigError, match=told) as refused:
        training_config.check(replace(config, engine=engine), num_workers)
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize("name", engines.KINDS)
def test_supported_settings_are_accepted(name):
    workers = 1 if name == "single" else 2
    kind = engines.kind_of(EngineConfig(name), workers)
    kind.check_settings(EngineConfig(name), OptimizerConfig(), workers)
    whole = EngineConfig(name, deepspeed=DeepSpeedConfig(0))
    kind.check_settings(whole, OptimizerConfig(name="adagrad"), workers)


def test_a_missing_deepspeed_gives_one_sentence(monkeypatch):
    kind = engines.kind_of(EngineConfig("deepspeed"), 1)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(EnvironmentProblem, match="needs the package deepspeed"):
        kind.check_settings(EngineConfig("deepspeed"), OptimizerConfig(), 1)


def test_cuda_graphs_without_a_gpu_are_refused(tmp_path):
    config = config_of(tmp_path, tmp_path / "run", engine={"compile": "cuda_graphs"})
    with pytest.raises(ConfigError, match="cuda_graphs needs a GPU"):
        training_config.check_device(config, has_gpu=False)
    training_config.check_device(config, has_gpu=True)
    training_config.check_device(config_of(tmp_path, tmp_path / "run"), has_gpu=False)


# ----------------------------------------------------------------------------- the loss scale


def test_the_loss_scale_follows_torchs_rule():
    scale, plain = LossScale(CPU, "fp16"), LossScale(CPU, "bf16")
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    own = torch.amp.GradScaler("cpu")
    kept = None
    for number in range(4100):
        is_skipped = number in (3, 4, 2500)
        weight.grad = own.scale(torch.tensor([float("inf") if is_skipped else 1.0]))
        own.step(optimizer)
        own.update()
        scale.update(is_skipped)
        assert scale.value == own.get_scale()
        if number == 2400:
            kept = scale.scaler.state_dict()
    assert scale.scaler.state_dict() == own.state_dict() != kept
    scale.load(kept)
    assert scale.scaler.state_dict() == kept
    assert (plain.is_enabled, plain.value) == (False, 1.0)
    plain.load(kept)
    assert plain.value == 1.0


# --------------------------------------------------------------- what an engine holds, in whole


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    shards = engine_runs.make_data(tmp_path_factory.mktemp("kinds") / "shards")
    return Runs(shards, LocalContext(CPU))


SPREAD = ["ZeRO-0", "ZeRO-1", "ZeRO-2, offloaded", "ZeRO-3", "fsdp"]


@pytest.mark.parametrize("name", slow_after(3, SPREAD[::-1]))
@pytest.mark.parametrize(
    "optimizer",
    slow_after(
        1,
        [
            OptimizerConfig(name="adam", learning_rate=1e-3, clip_norm=1.0),
            OptimizerConfig(name="sgd", learning_rate=1e-2, clip_norm=1.0),
            OptimizerConfig(name="sgd", learning_rate=1e-2, beta1=0.0, clip_norm=1.0),
        ],
    ),
    ids=["adam", "momentum", "sgd"],
)
def test_state_moves_from_the_plain_engine_to_another_and_back(name, optimizer, runs):
    single = EngineConfig("single")
    expected = runs.train(runs.engine(single, optimizer=optimizer), steps=9).losses
    losses, handed, first = [], None, 0
    for config in (single, ENGINES[name], single):
        engine = runs.engine(config, optimizer=optimizer)
        if handed:
            engine.load_weights(handed[0])
            engine.load_state(handed[1])
        losses += runs.train(engine, first, first + 3).losses
        first += 3
        handed = runs.hand_over(engine)
    assert losses == pytest.approx(expected, rel=1e-6)


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


def first_of(tensors, key):
    return min(name for name in tensors if name.startswith(key))


@pytest.mark.parametrize("name", slow_after(1, ["fsdp", "ZeRO-3", "ZeRO-1", "ZeRO-2"]))
@pytest.mark.parametrize("damage", ["groups", "shape", "unknown"])
def test_a_state_that_does_not_fit_is_refused(damage, name, runs):
    engine = runs.engine(ENGINES[name])
    runs.train(engine, steps=1)
    _, state = runs.hand_over(engine)
    at = first_of(state.tensors, "exp_avg:")
    damaged = {
        "groups": lambda: replace(state, groups=state.groups[::-1]),
        "shape": lambda: replace(state, tensors={**state.tensors, at: torch.zeros(2, 1)}),
        "unknown": lambda: replace(
            state, tensors={**state.tensors, "exp_avg:model.no_such": torch.zeros(3)}
        ),
    }[damage]()
    with pytest.raises(CheckpointError):
        runs.engine(ENGINES[name]).load_state(damaged)


@pytest.mark.parametrize("name", slow_after(1, ["ZeRO-3", "ZeRO-1"]))
@pytest.mark.parametrize("key", ["exp_avg:", "step:"])
def test_zero_refuses_a_state_that_lacks_a_weight(key, name, runs):
    engine = runs.engine(ENGINES[name])
    runs.train(engine, steps=1)
    _, state = runs.hand_over(engine)
    lacking = replace(state, tensors=without(state.tensors, first_of(state.tensors, key)))
    with pytest.raises(CheckpointError, match="of other weights"):
        engine.load_state(lacking)


def test_zero_refuses_counts_that_differ_by_weight(runs):
    engine = runs.engine(ENGINES["ZeRO-2"])
    runs.train(engine, steps=1)
    _, state = runs.hand_over(engine)
    tensors = {**state.tensors, first_of(state.tensors, "step:"): torch.tensor(7.0)}
    with pytest.raises(CheckpointError, match="step differs by weight"):
        engine.load_state(replace(state, tensors=tensors))


@pytest.mark.parametrize("name", slow_after(1, [*SPREAD[::-1], "ddp"]))
def test_weights_that_do_not_fit_are_refused(name, runs):
    engine = runs.engine(ENGINES[name])
    weights = engine.weights()
    at = first_of(weights, "output")
    for damaged in (
        without(weights, at),
        {**weights, "no_such": torch.zeros(3)},
        {**weights, at: torch.zeros(2)},
    ):
        with pytest.raises(CheckpointError, match="do not fit their configuration"):
            engine.load_weights(damaged)


@pytest.mark.parametrize("name", ["ZeRO-1", "ZeRO-2", "ZeRO-3"])
def test_a_gradient_that_is_not_finite_ends_training_in_full_precision(name, runs):
    """ZeRO skips such an update silently; with the plain engine the next loss would show it."""
    engine = runs.engine(ENGINES[name])
    with pytest.raises(TrainingError, match="gradient is not finite"):
        runs.overflow(engine)


def gradients_of(runs, config, precision, factor):
    """The gradient of the encoder's products for a loss of `factor` times its size."""
    momentum = OptimizerConfig(name="sgd", schedule="constant", weight_decay=0.0, clip_norm=1e3)
    engine = runs.engine(config, precision, momentum)
    runs.train(engine, steps=1, factor=factor)
    tensors = runs.hand_over(engine)[1].tensors  # its momentum is the gradient after one update
    return {k: v / factor for k, v in tensors.items() if "model.layers.0" in k and v.ndim == 2}


@pytest.mark.parametrize("name", slow_after(3, ["single", *SPREAD[::-1], "ddp"]))
def test_small_gradients_are_not_lost_under_fp16(name, runs):
    config = EngineConfig("single") if name == "single" else ENGINES[name]
    expected = gradients_of(runs, EngineConfig("single"), "fp32", 1.0)
    found = gradients_of(runs, config, "fp16", 1e-6)
    assert len(found) > 2
    for key, gradient in expected.items():
        torch.testing.assert_close(
            found[key], gradient, rtol=0.02, atol=0.02 * gradient.abs().max()
        )


@pytest.mark.parametrize("name", slow_after(1, [*SPREAD[::-1], "ddp"]))
def test_no_engine_calls_what_torch_deprecates(name, runs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FutureWarning)
        engine = runs.engine(ENGINES[name])
        runs.train(engine, steps=1)
        runs.hand_over(engine)
    assert [str(w.message) for w in caught if issubclass(w.category, FutureWarning)] == []


@pytest.mark.parametrize("name", slow_after(1, [*SPREAD[::-1], "ddp"]))
def test_a_state_before_the_first_update_is_empty_and_can_be_loaded(name, runs):
    weights, state = runs.hand_over(runs.engine(ENGINES[name]))
    assert (state.tensors, state.plain, state.schedule_step) == ({}, {}, 0)
    engine = runs.engine(ENGINES[name])
    expected = runs.train(runs.engine(ENGINES[name]), steps=2).losses
    runs.train(engine, steps=2)
    engine.load_weights(weights)
    engine.load_state(state)
    assert runs.train(engine, steps=2).losses == expected
