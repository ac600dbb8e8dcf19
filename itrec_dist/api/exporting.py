"""A run's model as a folder that serves without this package: what `Run.export` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from itrec_dist.api.run import Run
    from itrec_dist.storage.uri import Uri


def exported(run: Run, parsed: Any) -> Uri | Path:
    """Write the folder that the options of `itrec export` ask for; returns the model's file.

    Raises:
        ConfigError: no folder is given, or the model cannot be exported.
        EnvironmentProblem: a package that the format needs is missing.
        OutputError: the folder exists.
    """
    if parsed.out is None:
        raise ConfigError("--out is missing: give the folder to write")
    from itrec_dist.inference.export import folder
    from itrec_dist.reports.model_card import Exported, model_card
    from itrec_dist.reports.runs import read

    folder.check_installed(parsed.format)
    restored = run.restored
    trained = read(run.directory.path)

    def card(signature: dict[str, Any]) -> str:
        epoch = restored.record.epoch
        return model_card(trained, Exported(signature, run.checkpoint, epoch, parsed.license))

    request = folder.Request(parsed.format, parsed.k)
    return folder.export(restored, request, card, parsed.out, overwrite=parsed.overwrite)
