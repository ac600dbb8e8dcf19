"""What Ray Train's controller does for a run: which failures it goes on after, and for how long.

The controller is a process of its own, on the driver's node. What it knows reaches the workers
and the driver as short messages in the cluster's key-value store, since no other process need
reach its files.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ray.experimental import internal_kv
from ray.train import UserCallback

# Not exported by ray.train, but the documented way to follow the controller's states; a user
# callback hears of failures only (ray/train/v2/_internal/execution/callback.py).
from ray.train.v2._internal.execution.callback import ControllerCallback

from itrec_dist.errors import EnvironmentProblem
from itrec_dist.launch.failures import describe
from itrec_dist.runs.console import ProgressView

_NAMESPACE = "itrec"
_WITHOUT_WORKERS = (
    "InitializingState", "SchedulingState", "ReschedulingState", "RestartingState", "ResizingState",
)  # fmt: skip
_WORTH_SAYING = 5.0  # seconds that workers may take to find a place before a person is told


class Tidings:
    """Messages of one launch in the order they were told, for any process of the cluster."""

    def __init__(self) -> None:
        self._prefix = f"launch-{uuid.uuid4().hex}/"

    def tell(self, kind: str, **fields: Any) -> None:
        """Add a message."""
        key = f"{self._prefix}{time.time_ns():020d}-{uuid.uuid4().hex}"
        content = {"kind": kind, "time": time.time(), **fields}
        internal_kv._internal_kv_put(key, json.dumps(content), namespace=_NAMESPACE)

    def read(self) -> list[dict[str, Any]]:
        """All messages so far."""
        keys = sorted(internal_kv._internal_kv_list(self._prefix, namespace=_NAMESPACE))
        found = [internal_kv._internal_kv_get(key, namespace=_NAMESPACE) for key in keys]
        return [json.loads(content) for content in found if content]

    def forget(self) -> None:
        """Remove all messages; a cluster that is gone has forgotten them."""
        with contextlib.suppress(Exception):
            internal_kv._internal_kv_del(self._prefix, del_by_prefix=True, namespace=_NAMESPACE)


class Failures(UserCallback):
    """Passes on why workers failed, and ends the run at once if it is a user's mistake."""

    def __init__(self, tidings: Tidings) -> None:
        self._tidings = tidings

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:  # noqa: ARG002
        """Tell the next workers what happened to these.

        What is raised here ends the run: Ray Train retries failures of workers, not those of its
        controller (ray/train/v2/_internal/execution/failure_handling/default.py).
        """
        failure = describe(worker_exceptions)
        if failure.mistake is not None:
            raise failure.mistake
        self._tidings.tell("failure", told=failure.told)


class Patience(ControllerCallback):
    """Gives up when workers have found no place for too long; Ray Train itself waits for ever."""

    def __init__(self, tidings: Tidings, seconds: float) -> None:
        self._tidings, self._seconds = tidings, seconds
        self._since: float | None = None
        self._is_told = False

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Look at the time for which there have been no workers."""
        name = type(current_state).__name__
        if name not in _WITHOUT_WORKERS:
            self._since, self._is_told = None, False
            return
        now = time.monotonic()
        self._since = self._since or now
        waited = now - self._since
        if waited > self._seconds:
            raise EnvironmentProblem(
                f"the cluster had no room for the workers for {waited:.0f} s "
                "(cluster.wait_seconds): wait longer, or ask for fewer workers"
            )
        if waited >= _WORTH_SAYING and not self._is_told:
            self._is_told = True
            self._tidings.tell("waiting", seconds=self._seconds)
        if type(previous_state) is type(current_state):
            time.sleep(0.2)  # Ray Train's loop would spin while there are too few workers


class Herald(threading.Thread):
    """Shows what the controller tells while there are no workers to write it down."""

    def __init__(self, tidings: Tidings, view: ProgressView, interval: float = 2.0) -> None:
        super().__init__(name="itrec-herald", daemon=True)
        self._tidings, self._view, self._interval = tidings, view, interval
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Read what is new, again and again."""
        shown = 0
        while not self._stop_asked.wait(self._interval):
            try:
                messages = [m for m in self._tidings.read() if m["kind"] == "waiting"]
            except Exception:  # the cluster is gone: whoever waits for the run hears of it
                return
            for message in messages[shown:]:
                said = (
                    f"waiting for room for the workers on the cluster, up to "
                    f"{message['seconds']:g} s (cluster.wait_seconds)"
                )
                self._view({"event": "note", "message": said})
            shown = len(messages)

    def finish(self) -> None:
        """End."""
        self._stop_asked.set()
        self.join(self._interval)  # it may hang on a cluster that is gone
