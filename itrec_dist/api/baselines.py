"""Baselines from a program, and what `itrec baselines` does with its options."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.api.figures import Figures
from itrec_dist.api.shards import Data, shards_of
from itrec_dist.errors import ConfigError, ItrecWarning
from itrec_dist.options import baselines as baseline_options
from itrec_dist.storage.uri import parse_place

if TYPE_CHECKING:
    from itrec_dist.data.manifest import Manifest
    from itrec_dist.metrics.judgement import Judgement
    from itrec_dist.tasks.baselines import TaskBaselines


class Comparison(Mapping[str, dict[str, Figures]]):
    """Baseline -> split -> figures; printed, one table of all of them."""

    def __init__(self, judged: Judged) -> None:
        self._judgements = judged.judgements
        self.left_out = judged.left_out
        """Those that are left out unless named, or do not suit the data; none if some were named.
        """
        self.missing = judged.missing
        """Those whose packages are not installed; none if some were named."""

    def __getitem__(self, name: str) -> dict[str, Figures]:
        return {split: Figures(split, found) for split, found in self._judgements[name].items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._judgements)

    def __len__(self) -> int:
        return len(self._judgements)

    def __str__(self) -> str:
        from itrec_dist.reports import terminal

        return terminal.comparison(self._judgements)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self)})"


def baselines(
    data: Data | str | Path,
    only: str | Sequence[str] = (),
    *,
    out: str | Path | None = None,
    **settings: Any,
) -> Comparison:
    """Fit the baselines that need no training, and judge them as models are.

    Args:
        data: what `split` or `open` returned, or a shards folder.
        only: names of baselines, such as ["popularity", "ease"], or one name; all that suit the
            data if empty.
        out: folder for a run directory of each, which `report` reads, or its URI; None keeps none.
        settings: further settings by the names of the options of `itrec baselines`, such as
            `ease={"penalty": 200}`, `cutoffs`, `seen` and `overwrite`.

    Returns:
        Their figures.

    Raises:
        ConfigError: there is no such baseline or setting.
        EnvironmentProblem: a package is missing, or there is too little memory.

    Warns:
        ItrecWarning: many targets cannot be found.

    Examples:
        >>> itrec.baselines(data, ["popularity"])["popularity"]["test"]["masked/ndcg@10"]
        0.018
    """
    shards = shards_of(data)
    named = only if isinstance(only, str) else ",".join(only)
    given = settings | {"shards": shards, "only": named}
    with tempfile.TemporaryDirectory(prefix="itrec-baselines-") as scratch:
        given["out"] = Path(scratch) if out is None else out
        parsed = baseline_options.parser_for(parse_place(shards)).parse_settings(given)
        done = judged(parsed)
    for text in done.warnings:
        warnings.warn(text, ItrecWarning, stacklevel=2)
    return Comparison(done)


@dataclass(frozen=True)
class Judged:
    """Figures of baselines, and which were not judged."""

    judgements: dict[str, dict[str, Judgement]]
    """Name -> split -> judgement."""
    left_out: tuple[str, ...]
    """Those that are left out unless named, or do not suit the data; none if some were named."""
    missing: tuple[str, ...]
    """Those whose packages are not installed."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about the figures, which is the same for all baselines."""
        from itrec_dist.metrics import targets

        splits = next(iter(self.judgements.values())).items()
        found = (targets.warning(split, one.targets, "--seen") for split, one in splits)
        return tuple(text for text in found if text)


def judged(parsed: Any) -> Judged:
    """Do what the options of `itrec baselines` say.

    Raises:
        ItrecError: see `baselines`.
    """
    from itrec_dist import tasks
    from itrec_dist.api.evaluation import choice_from
    from itrec_dist.data.shards import fetch
    from itrec_dist.evaluation.baselines import judge_all
    from itrec_dist.metrics.metric import MetricChoice

    data = fetch.manifest_of(parsed.shards)
    known = baseline_options.baselines_of(tasks.task_of(data))
    chosen = _chosen(parsed, known, data)
    judgements = judge_all(
        known, parsed.shards, parsed.out, chosen,
        overwrite=parsed.overwrite, choice=choice_from(parsed, MetricChoice()),
    )  # fmt: skip
    if parsed.only:  # nothing was left out that was asked for
        return Judged(judgements, (), ())
    missing = known.missing()
    suiting = [*known.default(data), *missing]
    left_out = (name for name in known.registry if name not in suiting)
    return Judged(judgements, tuple(left_out), tuple(missing))


def _chosen(parsed: Any, known: TaskBaselines[Any, Any, Any], data: Manifest) -> dict[str, Any]:
    """The settings of the chosen baselines, or of the default ones."""
    listed = parsed.only.strip().removeprefix("[").removesuffix("]")  # as lists of other options
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if not names and parsed.only:
        raise ConfigError(f"--only names no baseline; there are: {', '.join(known.registry)}")
    chosen = {}
    for name in dict.fromkeys(names or known.default(data)):
        settings = known.registry[name]
        chosen[name] = parsed[name] if name in parsed else settings()
    return chosen
