"""Training from a program, and what `itrec train` does with its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.api.shards import Data, shards_of
from itrec_dist.config import pick
from itrec_dist.errors import ConfigError
from itrec_dist.options import train as train_options

if TYPE_CHECKING:
    from itrec_dist.api.run import Run
    from itrec_dist.losses.config import LossConfig
    from itrec_dist.models.config import ModelConfig
    from itrec_dist.runs.console import ProgressView
    from itrec_dist.training.config import RunConfig
    from itrec_dist.training.setup import Existing


def train(
    data: Data | str | Path | None = None,
    model: ModelConfig | str | dict[str, Any] | None = None,
    loss: LossConfig | str | dict[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    local: bool = False,
    verbose: bool = False,
    **settings: Any,
) -> Run:
    """Train a model and evaluate its best epoch.

    Args:
        data: what `split` or `open` returned, or a shards folder; None if a recipe names it.
        model: `itrec.models.SASRec(width=64)`, or a name such as "sasrec" for its defaults.
        loss: `itrec.losses.GBCE()`, or a name; None takes the default of the model.
        out: run directory to write, or its URI; None if a recipe names it.
        local: train in this process; otherwise on Ray, as `itrec train` does.
        verbose: show progress on standard output, as the command does.
        settings: further settings by the names of the options of `itrec train`. Those with a dot
            are mappings or the settings' dataclasses: `training={"epochs": 5}`. `config` is a
            recipe, which the others override; `resume`, `overwrite` and `address` are as there.

    Returns:
        The run.

    Raises:
        ConfigError: a setting is unknown, of the wrong type, or does not fit the others.
        ShardsError: the shards cannot be read.
        OutputError: there is a run in `out` already.
        TrainingError: the loss is not finite, or workers were lost too often.

    Examples:
        >>> run = itrec.train(data, itrec.models.SASRec(width=64), out="run", local=True,
        ...                   training={"epochs": 5}, seed=1)
        >>> run.metrics["test"]["unmasked/ndcg@10"]
        0.1612
    """
    from itrec_dist.runs.console import ProgressView

    own = {"model": model, "loss": loss, "out": out, "local": local or None}
    given = settings | {name: value for name, value in own.items() if value is not None}
    return trained(_parsed(data, given), ProgressView(quiet=not verbose))


def resolve(data: Data | str | Path | None = None, **settings: Any) -> RunConfig:
    """All settings of a run, checked, without training: what `--print-config` prints.

    Args:
        data: what `split` or `open` returned, or a shards folder.
        settings: those of `train`, by its keywords.

    Raises:
        ConfigError: a setting is unknown or of the wrong type.

    Examples:
        >>> itrec.resolve("shards", model="sasrec", out="run").optimizer.learning_rate
        0.002
    """
    from itrec_dist.training.config import RunConfig

    return pick(RunConfig, _parsed(data, settings))


def _parsed(data: Data | str | Path | None, settings: dict[str, Any]) -> Any:
    given = settings if data is None else {**settings, "shards": shards_of(data)}
    return train_options.parser().parse_settings(given)


def trained(parsed: Any, view: ProgressView | None = None) -> Run:
    """Do what the options of `itrec train` say.

    Raises:
        ItrecError: see `train`.
    """
    from itrec_dist.api.run import Run
    from itrec_dist.launch import start
    from itrec_dist.training.config import RunConfig

    config = pick(RunConfig, parsed)
    existing: Existing = "overwrite" if parsed.overwrite else "refuse"
    if parsed.resume:
        if parsed.overwrite:
            raise ConfigError("--resume keeps a run and --overwrite replaces it: give one of them")
        existing = "resume"
    start.train(config, local=parsed.local, address=parsed.address, existing=existing, view=view)
    return Run(config.out)
