"""The `itrec` command: runs a subcommand and turns errors into one sentence and an exit code.

Each subcommand is a module of this folder with `parser() -> Parser` and `run(parsed) -> int`. Only
the one that was called is imported, so `itrec --help` answers at once.
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
from typing import TYPE_CHECKING, NoReturn

from itrec_dist import __version__
from itrec_dist.distributed import torchrun
from itrec_dist.errors import ConfigError, ItrecError

if TYPE_CHECKING:
    from itrec_dist.config import Parser

VERBS: dict[str, tuple[str, str]] = {
    "doctor": ("doctor", "check versions, devices, Ray, memory and disk"),
    "data get": ("data_get", "download a public data set from its publisher"),
    "data make": ("data_make", "generate a data set with planted structure"),
    "window": ("window", "cut events into windows: Parquet shards, item table, audit"),
    "train": ("train", "train a model on shards, on a Ray cluster or with --local in-process"),
    "sweep": ("sweep", "tune hyperparameters, evaluate the best on the test split"),
    "baselines": ("baselines", "evaluate the non-neural baselines on the same windows"),
    "evaluate": ("evaluate", "evaluate a trained model again, on the same or other windows"),
    "recommend": ("recommend", "write the top next items of every user to Parquet"),
    "export": ("export", "write a trained model so that it serves without itrec"),
    "similar": ("similar", "list the items most similar to an item"),
    "report": ("report", "write one HTML report on a set of runs"),
    "reproduce": ("reproduce", "run every arm of a published study and compare"),
    "schema": ("schema", "print the JSON Schema of recipes, for editors"),
    "completion": ("completion", "print a script that completes commands in your shell"),
}
"""Command -> (module of this folder, one line for the overview)."""

DISTRIBUTED = ("train",)
"""Commands that may run in several processes started by torchrun."""

_FILE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C so that nothing half-written stays behind."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 success, 1 failure, 2 user error."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _orderly_termination(), torchrun.together():
            try:
                code = _dispatch(arguments)
            except SystemExit:  # --help
                sys.stdout.flush()
                raise
            sys.stdout.flush()  # notice a closed pipe here, not when Python exits
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
    except BrokenPipeError:  # the reader of our output has exited, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _FILE_ERRORS:
            raise
        place = f"{error.filename}: " if error.filename else ""
        remedy = "free some space" if error.errno in _FULL else "change its permissions"
        print(
            f"itrec: error: {place}{error.strerror}: {remedy}, or choose another location",
            file=sys.stderr,
        )
        return 2


@contextlib.contextmanager
def _orderly_termination() -> Iterator[None]:
    """Turn SIGTERM into an exception, unless something else handles it already."""
    is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not is_free or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        # A worker that is shutting down with others ignores SIGTERM by now: leave that alone.
        if signal.getsignal(signal.SIGTERM) is _terminate:
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
            _check_single_process(verb)
            command = importlib.import_module(f"itrec_dist.cli.{VERBS[verb][0]}")
            code: int = command.run(command.parser().parse(arguments[words:]))
            return code
    inner = [v for v in VERBS if v.startswith(arguments[0] + " ")]
    if inner and arguments[1:2] in ([], ["-h"], ["--help"]):
        print(_overview(inner))
        return 0 if arguments[1:] else 2
    given = " ".join(arguments[:2] if inner else arguments[:1])
    from itrec_dist.config.registry import did_you_mean

    hint = did_you_mean(given, VERBS)
    raise ConfigError(f"there is no command {given!r}{hint}; there are: {', '.join(VERBS)}")


def parsers_of(verb: str) -> "list[Parser]":
    """A fresh parser of a command, or several where one option decides which others there are."""
    command = importlib.import_module(f"itrec_dist.cli.{VERBS[verb][0]}")
    every = getattr(command, "every_parser", None)
    return list(every()) if every else [command.parser()]


def _check_single_process(verb: str) -> None:
    peers = torchrun.peers()
    if peers and peers.at.world_size > 1 and verb not in DISTRIBUTED:
        raise ConfigError(
            f"torchrun has started `itrec {verb}` {peers.at.world_size} times, and only itrec "
            f"{' and '.join(DISTRIBUTED)} can run distributed: start it without torchrun"
        )


def _overview(verbs: Sequence[str] = tuple(VERBS)) -> str:
    lines = [f"  {verb:<14} {VERBS[verb][1]}" for verb in verbs]
    return "\n".join(
        [
            "usage: itrec COMMAND [options]",
            "",
            "Distributed training of sequential recommenders.",
            "",
            "commands:",
            *lines,
            "",
            "itrec COMMAND --help lists a command's options; itrec --version prints the version.",
        ]
    )
