"""The model card of an exported model, as Markdown: what a run says of it, and its use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from itrec_dist import __version__, config, metrics
from itrec_dist.metrics.metric import FigureName
from itrec_dist.reports import provenance
from itrec_dist.reports.runs import Run

_TEMPLATES = Path(__file__).parent / "templates"
# Where things were on the machine at hand is nobody else's concern.
_READ_FROM = "Read from"
_PLACES = ("shards", "out", "item_vectors")


@dataclass(frozen=True)
class Exported:
    """What the card says besides the run."""

    signature: dict[str, Any]
    """The content of signature.json."""
    checkpoint: str
    epoch: int
    """Finished epochs of the checkpoint."""
    license: str | None
    """None if it is not stated."""


def model_card(run: Run, exported: Exported) -> str:
    """The card of a checkpoint of a run; figures are of the epoch that was judged at its end."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters["cell"] = _cell
    manifest = run.manifest
    facts = [f for f in provenance.data(manifest) if f.name != _READ_FROM] if manifest else []
    is_judged = bool(run.judgements) and run.best_epoch == exported.epoch
    return environment.get_template("model_card.md.j2").render(
        run=run,
        manifest=manifest,
        facts=facts,
        audit=provenance.audit_rows(manifest) if manifest and manifest.audit else None,
        figures=_figures(run) if is_judged else None,
        headline=_headline(run),
        settings=config.as_yaml({n: v for n, v in run.config.items() if n not in _PLACES}),
        exported=exported,
        signature=exported.signature,
        inputs=exported.signature["inputs"],
        outputs=exported.signature["outputs"],
        version=__version__,
    )


def _figures(run: Run) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The splits that were judged, and each figure on all of them."""
    splits = list(run.judgements)
    names = metrics.in_order(n for j in run.judgements.values() for n, _ in j.figures())
    return splits, [(str(n), [_digits(run, split, n) for split in splits]) for n in names]


def _digits(run: Run, split: str, name: FigureName) -> str:
    value = run.judgements[split].value(name)
    return "" if value is None else f"{value:.4f}"


def _headline(run: Run) -> str:
    """The figure that chose the epoch."""
    training = run.config.get("training")
    return str(training.get("monitor") or "") if isinstance(training, dict) else ""


def _cell(text: Any) -> str:
    """Text for a cell of a table."""
    return str(text).replace("|", "\\|").replace("\n", " ")
