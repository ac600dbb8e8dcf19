"""Published studies from a program, and what `itrec reproduce` does with its options."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.config import pick
from itrec_dist.options import reproduce as reproduce_options
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.outputs import below
from itrec_dist.storage.uri import Uri

if TYPE_CHECKING:
    from itrec_dist.api.run import Run

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """A study that was run: its folder, with a page and a table of the results."""

    path: Uri | Path
    """Where its shards and runs are: a path or URI."""
    report: Uri | Path
    """The page that compares the published figures with those found here."""

    @property
    def results(self) -> str:
        """The tables of results, as Markdown."""
        results = below(self.path, "results.md")
        if isinstance(results, Uri):
            return (Store(results).read("") or b"").decode()
        return results.read_text(encoding="utf-8")

    @property
    def runs(self) -> list[Run]:
        """The trained runs, by protocol, arm and seed."""
        from itrec_dist.api.run import Run

        if isinstance(self.path, Uri):
            files = sorted(Store(self.path).files("runs"))
            names = [re.fullmatch(r"(runs/[^/]+/[^/]+/seed-\d+)/config\.yaml", f) for f in files]
            return [Run(self.path.below(name[1])) for name in names if name]
        places = sorted((self.path / "runs").glob("*/*/seed-*"))
        return [Run(place) for place in places if place.is_dir()]


def reproduce(
    study: str,
    data: str | Path,
    *,
    out: str | Path,
    source: str = "ml-1m",
    verbose: bool = False,
    **settings: Any,
) -> Reproduction:
    """Run every arm of a published study and its baselines, and compare the figures.

    It takes hours unless `epochs`, `arms` and `protocols` are few. After an interruption the same
    call goes on where it was; what is complete is not run again.

    Args:
        study: "ite", "rating_prediction" or "leaderboard".
        data: folder or file of the raw events.
        out: folder for shards, runs and results, or its URI.
        source: format of the events, such as "ml-1m".
        verbose: print what happens, as the command does.
        settings: further settings by the names of the options of `itrec reproduce`: `seeds`,
            `arms`, `protocols`, `epochs`, `jobs`, and `config`, a recipe.

    Returns:
        The study, with its results and its report.

    Raises:
        ConfigError: there is no such study, arm or setting, or the study needs other data.
        OutputError: `out` holds something else.
        TrainingError: a run failed.

    Examples:
        >>> done = itrec.reproduce("leaderboard", "data/ml-1m", out="board", arms=["sasrec"])
        >>> print(done.results)
    """
    given = {**settings, "study": study, "input": data, "out": out, "source": source}
    parsed = reproduce_options.parser().parse_settings(given)
    return reproduced(parsed, print if verbose else _ignore)


def reproduced(parsed: Any, say: Say) -> Reproduction:
    """Do what the options of `itrec reproduce` say.

    Raises:
        ItrecError: see `reproduce`.
    """
    from itrec_dist import studies
    from itrec_dist.studies import runner

    study = studies.find(parsed.study)
    study.check_source(parsed.source)
    setup = runner.StudySetup(study, parsed.source, parsed.input, parsed.out, say)
    written = runner.reproduce(setup, pick(runner.StudyConfig, parsed))
    return Reproduction(parsed.out, written)


def _ignore(line: str) -> None:
    """Say nothing."""
