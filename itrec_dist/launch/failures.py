"""Describes a failed group of workers in a sentence, and decides whether to restart it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from itrec_dist.errors import ItrecError, MachineError, TrainingError


@dataclass(frozen=True)
class Failure:
    """Why a worker group ended."""

    reason: str
    """What happened to which worker, as the start of a sentence."""
    mistake: ItrecError | None = None
    """An error that the user must correct: a restart would fail the same way."""
    is_of_machine: bool = False
    """Whether workers were lost or met an error of their system, so that another try may work."""


def describe(failures: Mapping[int, BaseException]) -> Failure:
    """Find the cause behind the errors of workers, given by rank.

    If a worker is lost, the others fail in their next collective: the lost worker is the cause.
    """
    lost = {rank: reason for rank, e in failures.items() if (reason := _reason_of_loss(e))}
    if lost:
        ranks = sorted(lost)
        names = " and ".join(filter(None, [", ".join(map(str, ranks[:-1])), str(ranks[-1])]))
        were = f"workers {names} were" if len(ranks) > 1 else f"worker {names} was"
        return Failure(f"{were} lost ({lost[ranks[0]]})", is_of_machine=True)
    for error in failures.values():
        mistake = own_error(error)
        if mistake is not None:
            return Failure(str(mistake), mistake)
    rank, error = min(failures.items())
    innermost = _innermost(error)
    return Failure(
        f"worker {rank} failed ({type(innermost).__name__}: {_line(error)})",
        is_of_machine=isinstance(innermost, OSError | MemoryError),
    )


def own_error(error: BaseException) -> ItrecError | None:
    """Our own error inside Ray's wrappers, if there is one."""
    return next((e for e in _wrapped(error) if isinstance(e, ItrecError)), None)


def readable(error: BaseException, restarts: int, hint: str) -> ItrecError:
    """The error that the command line shows for an error that ended the training.

    Args:
        error: what Ray Train raised.
        restarts: how many restarts were allowed.
        hint: the end of the sentence, about the checkpoint to resume from.
    """
    failures = getattr(error, "worker_failures", None)
    if not failures:
        mistake = own_error(error)
        kind = MachineError if _reason_of_loss(error) else TrainingError
        return mistake or kind(f"training failed: {_line(error)}{hint}")
    failure = describe(failures)
    if failure.mistake is not None:
        return failure.mistake
    used = f" and all {restarts} restarts (cluster.max_failures) are used up" if restarts else ""
    kind = MachineError if failure.is_of_machine else TrainingError
    return kind(f"{failure.reason}{used}{hint}")


def _reason_of_loss(error: BaseException) -> str | None:
    from ray.exceptions import RayActorError

    died = next((e for e in _wrapped(error) if isinstance(e, RayActorError)), None)
    if died is None:
        return None
    text = str(died).lower()
    if died.preempted:
        return "its node was preempted"
    if "node" in text and ("node died" in text or "node has died" in text or "dead node" in text):
        return "its node was lost"
    if "low on memory" in text:
        return "its node ran out of memory"
    return "its process was killed"


def _wrapped(error: BaseException) -> list[BaseException]:
    """An error and all errors that it wraps, outermost first."""
    seen: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        current = queue.pop(0)
        if not isinstance(current, BaseException) or current in seen:
            continue
        seen.append(current)
        queue += [*(getattr(current, "worker_failures", None) or {}).values()]
        queue += [
            getattr(current, name, None)
            for name in ("controller_failure", "health_check_failure", "cause", "_base_exc")
        ]
        queue.append(current.__cause__)
    return seen


def _innermost(error: BaseException) -> BaseException:
    return _wrapped(error)[-1]


def _line(error: BaseException) -> str:
    return " ".join(str(_innermost(error)).split())[:400]
