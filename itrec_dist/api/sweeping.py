"""Sweeps from a program, and what `itrec sweep` does with its options."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.api.run import Run
from itrec_dist.api.shards import Data, shards_of
from itrec_dist.config import pick
from itrec_dist.errors import ConfigError
from itrec_dist.options import sweep as sweep_options
from itrec_dist.options import train as train_options

if TYPE_CHECKING:
    from itrec_dist.reports.sweep.runs import Sweep as Content
    from itrec_dist.storage.uri import Uri
    from itrec_dist.sweeps.checks import Checked
    from itrec_dist.sweeps.directory import Trial

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Best:
    """The configuration that a sweep recommends."""

    settings: dict[str, Any]
    """Dotted setting -> value, of those that were searched."""
    metric: str
    """What was searched for."""
    validation: float
    """The metric on validation, as a mean over seeds: of the finals, or of the trial without them.
    """
    test: float | None
    """The same on test; None without finals, since trials do not see it."""
    run: Run = dataclasses.field(repr=False)
    """The run with the first of these seeds."""


class Sweep:
    """A sweep directory: its trials, and the best configuration."""

    def __init__(self, path: Uri | Path) -> None:
        self.path = path
        """Where it is: its path or URI."""

    @functools.cached_property
    def _content(self) -> Content:
        from itrec_dist.reports.sweep import runs

        return runs.read(self.path)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials with their settings and outcomes, by number."""
        return self._content.trials

    @functools.cached_property
    def best(self) -> Best:
        """The finalist with the best mean on validation; without finals the best trial.

        Raises:
            CheckpointError: no trial is complete.
        """
        from itrec_dist.data.schema import TEST, VALIDATION
        from itrec_dist.errors import CheckpointError

        content = self._content
        if content.finalists:
            first = content.finalists[0]
            means = [first.interval(split, content.metric) for split in (VALIDATION, TEST)]
            validation, test = (None if one is None else one.mean for one in means)
            trial = first.trial
            seed = int(first.evaluations[0]["seed"])
            run = content.directory.run_place(trial.number, seed, is_final=True)
        elif content.ranked:
            trial, test = content.ranked[0], None
            validation, run = trial.outcome.value, content.directory.run_place(trial.number, 0)
        else:
            raise CheckpointError(f"no trial of {self.path} is complete: continue it with resume")
        return Best(dict(trial.assignment), str(content.metric), validation or 0.0, test, Run(run))

    def __repr__(self) -> str:
        done = len(self._content.ranked)
        best = f", best={self.best!r}" if done else ""
        return f"Sweep({str(self.path)!r}: {done} of {len(self.trials)} trials complete{best})"


def sweep(
    data: Data | str | Path | None = None,
    space: Mapping[str, Any] | None = None,
    *,
    base: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    local: bool = False,
    verbose: bool = False,
    **settings: Any,
) -> Sweep:
    """Search over settings of `train`, retrain the best with fresh seeds, and judge them on test.

    Args:
        data: what `split` or `open` returned, or a shards folder; None if a recipe or the base
            names it.
        space: dotted setting -> what to try: {"grid": [...]} or {"choice": [...]}, {"uniform":
            [low, high]}, {"loguniform": [low, high]} or {"integer": [low, high]}.
        base: settings of `train` that are not searched, as its keywords; or a recipe. None takes
            the defaults.
        out: sweep directory to write, or its URI; None writes to the folder `sweep`, or where a
            recipe says.
        local: train one trial after the other in this process; otherwise on Ray.
        verbose: print what happens, as the command does.
        settings: further settings by the names of the options of `itrec sweep`: `trials`, `seeds`,
            `search`, `scheduler`, `final` and so on; `config`, `resume`, `overwrite`, `address`.

    Returns:
        The sweep, with its report written.

    Raises:
        ConfigError: a setting is unknown, or does not fit the others or the data.
        TrainingError: no trial was completed.

    Examples:
        >>> search = itrec.sweep(data, {"optimizer.learning_rate": {"loguniform": [1e-4, 1e-2]}},
        ...                      base={"model": "sasrec"}, trials=8)
        >>> search.best.settings
        {'optimizer.learning_rate': 0.0021}
    """
    given = _given(data, space, {**settings, "out": out, "local": local or None})
    with tempfile.TemporaryDirectory(prefix="itrec-base-") as scratch:
        given |= _base(base, given, Path(scratch))
        parsed = sweep_options.parser().parse_settings(given)
        if parsed.dry_run:
            raise ConfigError("dry_run is an option of the command: call itrec.estimate instead")
        return swept(parsed, print if verbose else _ignore)


def estimate(
    data: Data | str | Path | None = None,
    space: Mapping[str, Any] | None = None,
    *,
    base: str | Path | Mapping[str, Any] | None = None,
    **settings: Any,
) -> str:
    """What `sweep` would do and how long it would take, measured by a few steps; writes nothing.

    Args:
        data: see `sweep`, as for the others.
        space: what to try.
        base: settings that are not searched.
        settings: further settings.

    Returns:
        What `itrec sweep --dry-run` prints.

    Raises:
        ConfigError: see `sweep`.

    Examples:
        >>> print(itrec.estimate(data, {"loss": {"grid": ["softmax", "gbce"]}}, trials=2))
    """
    from itrec_dist.sweeps import plan

    given = _given(data, space, settings)
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="itrec-base-") as scratch:
        given |= _base(base, given, Path(scratch))
        parsed = sweep_options.parser().parse_settings(given)
        plan.describe(checked_of(parsed), lines.append)
    return "\n".join(lines)


def swept(parsed: Any, say: Say) -> Sweep:
    """Do what the options of `itrec sweep` say, but for a dry run.

    Raises:
        ItrecError: see `sweep`.
    """
    from itrec_dist import reports
    from itrec_dist.storage.outputs import below
    from itrec_dist.sweeps import driver, remote

    checked = checked_of(parsed)
    out = checked.sweep.out
    existing: remote.Existing = "resume" if parsed.resume else "refuse"
    if parsed.overwrite:
        existing = "overwrite"
    place = driver.Place(local=parsed.local, address=parsed.address)
    with remote.Session(out, existing, say) as session:
        directory = driver.run(
            checked, resume=parsed.resume, place=place, say=say, directory=session.directory
        )
        session.finish()
        written = reports.write_sweep(out, overwrite=True)
    results = (below(out, file.name) for file in (directory.results_md, directory.results_csv))
    say(f"results: {' and '.join(map(str, results))}")
    say(f"report: {written}")
    return Sweep(out)


def checked_of(parsed: Any) -> Checked:
    """Check what the options of `itrec sweep` say, before anything is started or written.

    Raises:
        ItrecError: the settings conflict with each other or with the data.
    """
    from itrec_dist.sweeps import checks
    from itrec_dist.sweeps.config import SweepConfig

    if parsed.resume and parsed.overwrite:
        raise ConfigError("--resume keeps a sweep and --overwrite replaces it: give one of them")
    return checks.checked(pick(SweepConfig, parsed))


def _given(data: Any, space: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {"shards": None if data is None else shards_of(data), "space": space}
    given = {name: value for name, value in {**settings, **own}.items() if value is not None}
    return given if "config" in given else {"out": "sweep", **given}


def _base(base: Any, given: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """The base as a recipe, whose path a sweep takes."""
    if isinstance(base, (str, Path)):
        return {"base": str(base)}
    if base is None and ("base" in given or "config" in given):
        return {}
    from itrec_dist import config
    from itrec_dist.training.config import RunConfig

    own = {"shards": "shards", **(base or {}), "out": given.get("out", "sweep")}
    run = config.to_dict(pick(RunConfig, train_options.parser().parse_settings(own)))
    if "shards" not in (base or {}):
        del run["shards"]  # what the sweep names counts, and is missed if it names none
    recipe = scratch / "base.yaml"
    recipe.write_text(config.as_yaml(run), encoding="utf-8")
    return {"base": str(recipe)}


def _ignore(line: str) -> None:
    """Say nothing."""
