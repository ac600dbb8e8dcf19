"""How libraries behave where runs, launch, engines and storage rely on more than their interfaces.

Where one of these fails after an upgrade, the module named in the test has to follow. The names
that have to be there are listed in unit/config/test_library_contracts.py.
"""

import inspect

import pyarrow.fs
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

CPU = torch.device("cpu")


# ---------------------------------------------------------------------------- Ray


def test_ray_trains_controller_reports_its_states():
    """launch/restarts.py: WaitForNodes, by the names of states without workers."""
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.controller import state

    from itrec_dist.launch import restarts

    called = inspect.signature(ControllerCallback.after_controller_state_update).parameters
    assert list(called) == ["self", "previous_state", "current_state"]
    known = {
        name for name, one in vars(state).items()
        if inspect.isclass(one) and issubclass(one, state.TrainControllerState)
    }  # fmt: skip
    assert set(restarts._WITHOUT_WORKERS) <= known
    with_workers = known - set(restarts._WITHOUT_WORKERS)
    assert with_workers == {
        "TrainControllerState", "RunningState", "PreemptingState", "ShuttingDownState",
        "ErroredState", "FinishedState", "AbortedState",
    }, "a state that is new: are there workers in it?"  # fmt: skip


def test_ray_trains_trainer_lets_signals_and_the_controller_be_taken():
    """launch/training.py: the trainer's subclass, and the end of an interrupted run."""
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal import constants
    from ray.train.v2._internal.execution.controller.controller import TrainController

    from itrec_dist.launch import training

    handler = inspect.signature(TorchTrainer._register_sigint_handler).parameters
    assert list(handler) == ["self", "controller"]
    assert inspect.iscoroutinefunction(TrainController.abort)
    assert training._START_TIMEOUT == constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR


def test_ray_wraps_errors_where_they_are_looked_for():
    """launch/failures.py: `_wrapped` and the texts of `_reason_of_loss`."""
    import ray.exceptions
    from ray.train import ControllerError, WorkerGroupError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

    inner = ValueError("inner")
    assert WorkerGroupError("text", {1: inner}).worker_failures == {1: inner}
    assert ControllerError(inner).controller_failure is inner
    assert WorkerHealthCheckFailedError("text", inner).health_check_failure is inner
    assert "cause" in inspect.signature(ray.exceptions.RayTaskError.__init__).parameters
    assert isinstance(ray.exceptions.RayActorError.preempted, property)


def test_a_ray_job_runs_in_a_folder_of_this_name():
    """storage/ray_job_folder.py."""
    from ray._private.runtime_env import packaging, working_dir

    from itrec_dist.storage import ray_job_folder

    assert packaging.RAY_PKG_PREFIX == ray_job_folder._PREFIX
    assert f'"{ray_job_folder._PARENT}"' in inspect.getsource(working_dir)


# ---------------------------------------------------------------------------- torch


def test_a_schedule_is_restored_from_three_values():
    """engines/optimizer_state.py: `restore_schedule`."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    state = schedule.state_dict()
    assert (state["last_epoch"], state["_step_count"], state["_last_lr"]) == (0, 1, [1.0])


def test_torchs_state_dicts_would_update_a_fresh_optimiser():
    """The reason in engines/optimizer_state.py for not using them; if this fails, use them."""
    module = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    assert get_optimizer_state_dict(module, optimizer)["state"]["weight"]["step"] == 1


def test_a_scaler_finds_an_overflow_in_an_optimisers_gradients_alone():
    """engines/precision.py: the dummy optimiser of LossScale."""
    from itrec_dist.engines.precision import LossScale

    scale = LossScale(CPU, "fp16")
    before = scale.value
    scale.update(is_skipped=True)
    assert scale.value == before / 2


# ---------------------------------------------------------------------------- the rest


def test_pyarrow_writes_to_stores_without_conditions():
    """The reason in runs/lease.py for reading a remote lease again; if this fails, use them."""
    written = inspect.getdoc(pyarrow.fs.FileSystem.open_output_stream).lower()
    assert "metadata" in written
    assert not [word for word in ("if-none-match", "if_none_match", "condition") if word in written]
