"""Callbacks of Ray Train's controller: when to restart after a failure, and how long to wait.

The controller is a separate process on the driver's node. It sends workers and driver short
messages through the cluster's key-value store, since they may not be able to read its files. That
store is not a public interface of Ray; the public alternative would be an actor, another process to
start and to lose, for a few lines of JSON.
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

# Not exported by ray.train, but the only way to follow the controller's states: a user callback
# is called for failures only (ray/train/v2/_internal/execution/callback.py, 2.60).
from ray.train.v2._internal.execution.callback import ControllerCallback

from itrec_dist.errors import EnvironmentProblem
from itrec_dist.launch.failures import describe
from itrec_dist.runs.console import ProgressView

NAMESPACE = "itrec"
"""Of what is kept in the key-value store of a cluster."""
_WITHOUT_WORKERS = (
    "InitializingState", "SchedulingState", "ReschedulingState", "RestartingState", "ResizingState",
)  # fmt: skip
_NOTICE_SECONDS = 5.0  # of waiting for resources, before the user gets a message


class LaunchMessages:
    """The messages of one launch, in order, readable by any process of the cluster."""

    def __init__(self) -> None:
        self._prefix = f"launch-{uuid.uuid4().hex}/"

    def send(self, kind: str, **fields: Any) -> None:
        """Append a message."""
        key = f"{self._prefix}{time.time_ns():020d}-{uuid.uuid4().hex}"
        content = {"kind": kind, "time": time.time(), **fields}
        internal_kv._internal_kv_put(key, json.dumps(content), namespace=NAMESPACE)

    def read(self) -> list[dict[str, Any]]:
        """All messages so far."""
        keys = sorted(internal_kv._internal_kv_list(self._prefix, namespace=NAMESPACE))
        contents = [internal_kv._internal_kv_get(key, namespace=NAMESPACE) for key in keys]
        return [json.loads(content) for content in contents if content]

    def delete(self) -> None:
        """Delete all messages; does nothing if the cluster is gone."""
        with contextlib.suppress(Exception):
            internal_kv._internal_kv_del(self._prefix, del_by_prefix=True, namespace=NAMESPACE)


class ReportFailures(UserCallback):
    """Reports why workers failed, and ends the run at once after a user error."""

    def __init__(self, messages: LaunchMessages) -> None:
        self._messages = messages

    def after_exception(self, run_context: Any, worker_exceptions: Mapping[int, Exception]) -> None:  # noqa: ARG002
        """Tell the next workers what happened to these.

        An exception raised here ends the run: Ray Train retries failures of workers but not of its
        controller (ray/train/v2/_internal/execution/failure_handling/default.py).
        """
        failure = describe(worker_exceptions)
        if failure.mistake is not None:
            raise failure.mistake
        self._messages.send("failure", reason=failure.reason)


class WaitForNodes(ControllerCallback):
    """Gives up if resources for the workers are missing for too long; Ray Train waits forever."""

    def __init__(self, messages: LaunchMessages, seconds: float) -> None:
        self._messages, self._seconds = messages, seconds
        self._since: float | None = None
        self._is_reported = False

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Check how long there have been no workers."""
        name = type(current_state).__name__
        if name not in _WITHOUT_WORKERS:
            self._since, self._is_reported = None, False
            return
        now = time.monotonic()
        self._since = self._since or now
        waited = now - self._since
        if waited > self._seconds:
            raise EnvironmentProblem(
                f"the cluster had no room for the workers for {waited:.0f} s "
                "(cluster.wait_seconds): wait longer, or ask for fewer workers"
            )
        if waited >= _NOTICE_SECONDS and not self._is_reported:
            self._is_reported = True
            self._messages.send("waiting", seconds=self._seconds)
        if type(previous_state) is type(current_state):
            time.sleep(0.2)  # Ray Train's loop busy-waits while there are too few workers


class MessagePrinter(threading.Thread):
    """Shows the controller's messages while there are no workers to log them."""

    def __init__(self, messages: LaunchMessages, view: ProgressView, interval: float = 2.0) -> None:
        super().__init__(name="itrec-messages", daemon=True)
        self._messages, self._view, self._interval = messages, view, interval
        self._stopping = threading.Event()

    def run(self) -> None:
        """Show new messages until asked to stop."""
        shown = 0
        while not self._stopping.wait(self._interval):
            try:
                messages = [m for m in self._messages.read() if m["kind"] == "waiting"]
            except Exception:  # the cluster is gone: the launch itself reports the error
                return
            for message in messages[shown:]:
                text = (
                    f"waiting for room for the workers on the cluster, up to "
                    f"{message['seconds']:g} s (cluster.wait_seconds)"
                )
                self._view({"event": "note", "message": text})
            shown = len(messages)

    def finish(self) -> None:
        """Stop."""
        self._stopping.set()
        self.join(self._interval)  # the thread may hang if the cluster is gone
