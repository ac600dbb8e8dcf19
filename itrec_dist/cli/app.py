"""The `itrec` command: finds the verb, runs it, turns mistakes into one sentence and a code.

Each verb is one module of this folder with `parser() -> Parser` and `run(parsed) -> int`; only the
verb that is asked for is imported, so `itrec --help` answers at once.
"""

import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from itrec_dist import __version__
from itrec_dist.distributed import torchrun
from itrec_dist.errors import ConfigError, ItrecError

VERBS: dict[str, tuple[str, str]] = {
    "doctor": ("doctor", "check versions, devices, Ray, memory and disk"),
    "data get": ("data_get", "download a public data set from its publisher"),
    "data make": ("data_make", "generate a data set with planted structure"),
    "window": ("window", "turn ratings into windows: Parquet shards, item table, audit"),
    "train": ("train", "train a model on shards, on a Ray cluster or with --local in-process"),
    "sweep": ("sweep", "search over settings, judge the best on the test split"),
    "baselines": ("baselines", "judge the non-neural baselines on the same windows"),
    "evaluate": ("evaluate", "judge a trained model again, on the same or on other windows"),
    "recommend": ("recommend", "write the next items of every user to Parquet"),
    "similar": ("similar", "list the items whose vectors are next to one item's"),
    "report": ("report", "write one HTML report over runs"),
    "reproduce": ("reproduce", "run every arm of a published study and compare"),
}
"""Verb -> (module of this folder, one line for the overview)."""

TOGETHER = ("train",)
"""Verbs that several processes, started by torchrun, do as one."""

_TROUBLE_WITH_THE_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, met with the same orderly end as Ctrl-C: nothing half-written stays behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 a user's mistake."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _orderly_termination(), torchrun.together():
            try:
                code = _dispatch(arguments)
            except SystemExit:  # help was asked for
                sys.stdout.flush()
                raise
            sys.stdout.flush()  # a reader that went away is noticed here, not when Python ends
            return code
    except torchrun.PeerError as error:
        return error.exit_code
    except ItrecError as error:
        print(f"itrec: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interruption:
        print("itrec: interrupted", file=sys.stderr)
        number = signal.SIGTERM if isinstance(interruption, _Terminated) else signal.SIGINT
        return 128 + number
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _TROUBLE_WITH_THE_PLACE:
            raise
        place = f"{error.filename}: " if error.filename else ""
        remedy = "free some room" if error.errno in _FULL else "change its permissions"
        print(
            f"itrec: error: {place}{error.strerror}: {remedy}, or choose another place",
            file=sys.stderr,
        )
        return 2


@contextlib.contextmanager
def _orderly_termination() -> Iterator[None]:
    """Turn SIGTERM into an exception, unless somebody else cares for it already."""
    is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not is_free or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if (
            signal.getsignal(signal.SIGTERM) is _terminate
        ):  # a worker that ends with others ignores it
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise _Terminated


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"itrec {__version__}")
        return 0
    for words in (2, 1):
        verb = " ".join(arguments[:words])
        if verb in VERBS:
            _refuse_together(verb)
            command = importlib.import_module(f"itrec_dist.cli.{VERBS[verb][0]}")
            code: int = command.run(command.parser().parse(arguments[words:]))
            return code
    inner = [v for v in VERBS if v.startswith(arguments[0] + " ")]
    if inner and arguments[1:2] in ([], ["-h"], ["--help"]):
        print(_overview(inner))
        return 0 if arguments[1:] else 2
    given = arguments[:2] if inner else arguments[:1]
    raise ConfigError(f"there is no command {' '.join(given)!r}; there are: {', '.join(VERBS)}")


def _refuse_together(verb: str) -> None:
    peers = torchrun.peers()
    if peers and peers.at.world_size > 1 and verb not in TOGETHER:
        raise ConfigError(
            f"torchrun has started `itrec {verb}` {peers.at.world_size} times, and only itrec "
            f"{' and '.join(TOGETHER)} can share its work: start it without torchrun"
        )


def _overview(verbs: Sequence[str] = tuple(VERBS)) -> str:
    lines = [f"  {verb:<14} {VERBS[verb][1]}" for verb in verbs]
    return "\n".join(
        [
            "usage: itrec COMMAND [options]",
            "",
            "Distributed training of sequential transformer recommenders.",
            "",
            "commands:",
            *lines,
            "",
            "itrec COMMAND --help lists a command's options; itrec --version prints the version.",
        ]
    )
