"""What we use of libraries beyond their documented interfaces, and the messages that we reword.

An upgrade that changes one of these fails here, with the place that depends on it. The ceilings in
pyproject.toml keep untested versions out until then.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jsonargparse
import pytest

PRIVATE = {
    # of torch, for losses/uncompiled.py
    "torch._compile": ("_disable_dynamo",),
    # of argparse and jsonargparse, for config/parser.py
    "argparse:ArgumentParser": ("_actions", "_option_string_actions"),
    "argparse:HelpFormatter": ("_expand_help",),
    "jsonargparse:DefaultHelpFormatter": ("_expand_help", "add_usage", "add_argument"),
    "jsonargparse:ArgumentParser": ("groups", "instantiate", "set_defaults"),
    # of Ray, for launch/restarts.py: messages through the cluster's key-value store
    "ray.experimental.internal_kv": (
        "_internal_kv_put", "_internal_kv_get", "_internal_kv_list", "_internal_kv_del",
    ),
    # of Ray Train, for launch/restarts.py: states of its controller
    "ray.train.v2._internal.execution.callback:ControllerCallback": (
        "after_controller_state_update",
    ),
    "ray.train:UserCallback": ("after_exception",),
    "ray.train.v2._internal.execution.controller.state": (
        "InitializingState", "SchedulingState", "ReschedulingState", "RestartingState",
        "ResizingState",
    ),
    # of Ray Train, for launch/training.py: ending its workers in order
    "ray.train.v2._internal.execution.controller:TrainController": ("abort",),
    # of Ray Train, for launch/failures.py: what its errors wrap
    "ray.train:WorkerGroupError": ("worker_failures",),
    "ray.train:ControllerError": ("controller_failure",),
    "ray.train.v2._internal.exceptions:UserExceptionWithTraceback": ("_base_exc",),
    "ray.train.v2._internal.exceptions:WorkerHealthCheckFailedError": ("health_check_failure",),
    "ray.exceptions:RayActorError": ("preempted",),
    # of Ray Tune, for sweeps/asha.py: the scheduler that is asked inside each combination
    "ray.tune.schedulers:AsyncHyperBandScheduler": (
        "on_trial_add", "on_trial_result", "on_trial_complete", "on_trial_remove",
    ),
}  # fmt: skip
"""`module` or `module:Class` -> the names in it that we use."""

OF_DEEPSPEED = {
    "runtime/zero/stage_1_and_2.py": (
        "_hp_optimizer_states_linked", "_lazy_init_hp_params_optimizer_state",
        "single_partition_of_fp32_groups",
    ),
    "runtime/zero/stage3.py": ("fp32_partitioned_groups_flat",),
    "ops/__init__.py": ("__compatible_ops__",),
}  # fmt: skip
"""File of DeepSpeed -> the names in it that engines/zero_parts.py and engines/deepspeed.py use."""

TUNE_SETTINGS = (
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "TUNE_DISABLE_STRICT_METRIC_CHECKING",
    "TUNE_DISABLE_SIGINT_HANDLER", "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S",
    "TUNE_GLOBAL_CHECKPOINT_S", "RAY_AIR_NEW_OUTPUT",
)  # fmt: skip
"""Environment variables that sweeps/ray_tune.py sets: Tune has no other place for them."""


@pytest.mark.parametrize("owner", PRIVATE)
def test_the_private_parts_that_we_use_are_there(owner):
    module, _, cls = owner.partition(":")
    try:
        found = importlib.import_module(module)
        found = getattr(found, cls) if cls else found
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{owner} is gone: {error}; see the comment beside it for what needs it")
    text = ""
    with contextlib.suppress(OSError):  # Ray says of some classes that they stand elsewhere
        text = inspect.getsource(found)  # attributes that instances alone have
    for parent in inspect.getmro(found) if cls else ():
        with contextlib.suppress(OSError, TypeError):
            text += inspect.getsource(vars(parent).get("__init__"))
    gone = [n for n in PRIVATE[owner] if not hasattr(found, n) and not re.search(rf"\b{n}\b", text)]
    assert not gone, f"{owner} lacks {gone}: see the comment beside it for what needs them"


@pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="needs DeepSpeed")
@pytest.mark.parametrize("file", OF_DEEPSPEED)
def test_the_private_parts_of_deepspeed_are_there(file):
    package = importlib.metadata.distribution("deepspeed").locate_file("deepspeed")
    text = (Path(str(package)) / file).read_text(encoding="utf-8")
    gone = [name for name in OF_DEEPSPEED[file] if name not in text]
    assert not gone, f"deepspeed/{file} lacks {gone}, which engines/zero_parts.py needs"


def test_tune_reads_the_settings_that_we_give_it():
    import ray

    folder = Path(ray.__file__).parent
    text = "".join(
        path.read_text(encoding="utf-8")
        for part in ("tune", "train", "air")
        for path in (folder / part).rglob("*.py")
        if "tests" not in path.parts
    )
    gone = [name for name in TUNE_SETTINGS if name not in text]
    assert not gone, f"Ray reads {gone} no more, which sweeps/ray_tune.py sets"


# ---------------------------------------------------------------------------- messages


@dataclass(frozen=True)
class Inner:
    """A section."""

    width: int = 1
    """Width."""


@dataclass
class Settings:
    """Settings of each kind of type."""

    needed: str
    inner: Inner
    number: float = 1.0
    count: int | None = None
    choice: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = ()
    flag: bool = False


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--needed=x", "--widht=3"], r"[Uu]nrecognized arguments: --([\w.-]+)"),
        (["--needed=x", "stray"], r"[Uu]nrecognized arguments: stray"),
        ([], r"arguments are required: needed"),
        (["--needed=x", "--number=high"],
         r'Parser key "number": Expected a <class \'float\'>\. Got value: high'),
        (["--needed=x", "--inner.width=3.5"],
         r'Parser key "inner\.width": Expected a <class \'int\'>\. Got value: 3\.5'),
        (["--needed=x", "--choice=c"],
         r'Parser key "choice": Expected a typing\.Literal\[\'a\', \'b\'\]\. Got value: c'),
        (["--needed=x", "--flag=maybe"], r'Parser key "flag": Expected a .*bool.*Got value: maybe'),
        (["--needed=x", "--sizes=3"], r'Parser key "sizes": Expected a .*tuple.*Got value: 3'),
        (["--needed=x", "--count=many"],
         r'(?s)Parser key "count": .*Subtypes: \[.*\].*Errors:.*Given value: many'),
    ],
)  # fmt: skip
def test_jsonargparse_words_its_refusals_as_we_reword_them(arguments, wanted):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Settings)
    with pytest.raises((jsonargparse.ArgumentError, argparse.ArgumentError)) as refusal:
        parser.parse_args(arguments)
    message = " ".join(str(refusal.value).split())
    assert re.search(wanted, message), (
        f"jsonargparse {importlib.metadata.version('jsonargparse')} words this refusal anew, and "
        f"_explain of config/parser.py no longer makes a sentence of it: {message!r}"
    )


def test_a_help_text_ends_with_the_note_that_we_shorten():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--number", type=float, default=2.0, help="A number.")
    assert re.search(r"A number\. \(type: float, default: 2\.0\)", parser.format_help()), (
        "jsonargparse words its notes on types anew: see _Help of config/parser.py"
    )


def test_untested_versions_are_kept_out():
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    needed = tomllib.loads(text)["project"]["dependencies"]
    for package in ("jsonargparse", "ray"):
        bound = next(line for line in needed if re.match(rf"{package}\b", line))
        assert re.search(r">=[\d.]+,\s*<[\d.]+$", bound), f"{bound} has no ceiling"
