"""Lets whoever launched a run decide after every epoch whether its workers train another one.

Worker 0 asks after an epoch, when its checkpoint is being written, and all workers wait for the
answer. So a run that is to end does so by itself: its workers finish what they write, leave their
process group and return, and Ray has their resources again when `launch` returns.

Questions and answers travel through the cluster's key-value store, as the messages of `restarts.py`
do: a trial answers from the thread of an actor that is busy, which no other process can call.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from ray.experimental import internal_kv

from itrec_dist.distributed.context import RayContext
from itrec_dist.errors import CheckpointError
from itrec_dist.launch.restarts import NAMESPACE
from itrec_dist.runs.checkpoints import training_state
from itrec_dist.runs.directory import LAST, RunDirectory
from itrec_dist.training.config import RunConfig

_POLL_SECONDS = 0.1

OnEpoch = Callable[[int, float], None]
"""Called with an epoch and the monitored metric after it; what it raises ends the run."""


class NoFurtherEpoch(KeyboardInterrupt):
    """The answer to a worker was that the run ends; its log then ends as interrupted."""


class EpochQuestions:
    """The latest question of a run's workers and its answer, for any process of the cluster."""

    def __init__(self) -> None:
        self._prefix = f"epochs-{uuid.uuid4().hex}/"

    def ask(self, epoch: int, value: float) -> bool:
        """On worker 0: whether the run goes on after an epoch; waits for the answer."""
        number = uuid.uuid4().hex
        self._put("question", number=number, epoch=epoch, value=value)
        while (answer := self.answer()).get("number") != number:
            time.sleep(_POLL_SECONDS)
        return bool(answer["goes_on"])

    def question(self) -> dict[str, Any]:
        """The latest question: number, epoch and value; empty if there is none."""
        return self._get("question")

    def answer(self) -> dict[str, Any]:
        """The latest answer: the question's number and epoch, goes_on; empty if there is none."""
        return self._get("answer")

    def give(self, question: dict[str, Any], *, goes_on: bool) -> None:
        """Answer a question."""
        self._put("answer", number=question["number"], epoch=question["epoch"], goes_on=goes_on)

    def delete(self) -> None:
        """Delete both; does nothing if the cluster is gone."""
        with contextlib.suppress(Exception):
            internal_kv._internal_kv_del(self._prefix, del_by_prefix=True, namespace=NAMESPACE)

    def _put(self, name: str, **fields: Any) -> None:
        key = self._prefix + name
        internal_kv._internal_kv_put(key, json.dumps(fields), namespace=NAMESPACE)

    def _get(self, name: str) -> dict[str, Any]:
        content = internal_kv._internal_kv_get(self._prefix + name, namespace=NAMESPACE)
        fields: dict[str, Any] = json.loads(content) if content else {}
        return fields


class AskingContext(RayContext):
    """Inside a Ray Train worker of a run that ends when its launcher says so."""

    def __init__(self, questions: EpochQuestions, threads: int | None = None) -> None:
        super().__init__(threads)
        self._questions = questions
        self.shares_data = True  # with other trials

    def report(self, metrics: dict[str, Any]) -> None:
        """Report the epoch, and wait for the word to go on.

        Raises:
            NoFurtherEpoch: the run ends here, on all workers.
        """
        super().report(metrics)
        is_first = self.rank == 0
        goes_on = self._questions.ask(metrics["epoch"], metrics["monitor"]) if is_first else None
        if not self.share(goes_on):
            raise NoFurtherEpoch

    def is_over(self, run: RunConfig) -> bool:
        """Whether the run was told to end after the epoch that its checkpoint holds.

        Workers that take the place of lost ones would otherwise train on from there.
        """
        is_over = None
        if self.rank == 0:
            answer = self._questions.answer()
            is_over = answer.get("goes_on") is False and _epoch(run) >= answer["epoch"]
        return bool(self.share(is_over))


def _epoch(run: RunConfig) -> int:
    """The last whole epoch in the checkpoint `last`; 0 without one."""
    with contextlib.suppress(CheckpointError):
        return training_state.read(RunDirectory(run.folder).checkpoints / LAST).position.epoch
    return 0


class EpochAnswers(threading.Thread):
    """Answers the workers' questions by calling `on_epoch`, until `finish` is called.

    An epoch is told once: workers that were lost may train one again. After `on_epoch` has raised,
    every question is answered with the end.
    """

    def __init__(self, on_epoch: OnEpoch) -> None:
        super().__init__(name="itrec-epochs", daemon=True)
        self.questions = EpochQuestions()
        self._on_epoch = on_epoch
        self._stopping = threading.Event()
        self._told, self._answered = 0, ""
        self.error: BaseException | None = None
        """What `on_epoch` raised."""

    def run(self) -> None:
        """Answer questions until asked to stop."""
        while not self._stopping.wait(_POLL_SECONDS):
            with contextlib.suppress(Exception):  # the cluster is gone or busy: the launch tells
                question = self.questions.question()
                if question and question["number"] != self._answered:
                    goes_on = self._goes_on(question["epoch"], question["value"])
                    self.questions.give(question, goes_on=goes_on)
                    self._answered = question["number"]

    def finish(self) -> None:
        """Stop, and delete what was asked."""
        self._stopping.set()
        self.join()
        self.questions.delete()

    def _goes_on(self, epoch: int, value: float) -> bool:
        if self.error is None and epoch > self._told:
            self._told = epoch
            try:
                self._on_epoch(epoch, value)
            except BaseException as error:
                self.error = error
        return self.error is None
