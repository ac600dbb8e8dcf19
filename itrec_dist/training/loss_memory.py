"""What the loss of a run will hold: said at its start if it is much, refused if it cannot fit.

Only a worker knows its device and its memory, and whether its model learns from every position.
"""

import torch

from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import ConfigError
from itrec_dist.losses.loss import MeasuredLoss
from itrec_dist.system import limits
from itrec_dist.training.config import RunConfig

WORTH_SAYING = 100e6
"""Bytes from which on a user is told."""


def most_queries(run: RunConfig, data: Manifest, num_workers: int, *, steps: bool) -> int:
    """The most positions that a worker predicts from in a micro-batch; `steps` is for histories."""
    training, parts = run.training, num_workers * run.engine.accumulate
    if data.samples == "windows" or not steps:
        return -(-training.batch_size // parts)
    positions = training.batch_tokens or training.batch_size * data.input_length
    return max(-(-positions // parts), data.input_length)  # a history is never divided


def check(
    run: RunConfig, data: Manifest, num_queries: int, device: torch.device,
    available: int | None = None,
) -> str | None:  # fmt: skip
    """What the loss will hold of the scores, as a line for the user; None if it is not worth one.

    Args:
        run: the configuration.
        data: the manifest of its windows.
        num_queries: see `most_queries`.
        device: of this worker.
        available: bytes that are free on it; None asks the system.

    Raises:
        ConfigError: it is more than the device has.
    """
    if not isinstance(run.loss, MeasuredLoss):
        return None
    held = run.loss.held(num_queries, data.num_items, device)
    what = f"the scores of {num_queries:,} positions and {held.form}"
    free = _free(device) if available is None else available
    if free is not None and held.bytes > free:
        remedy = "lower loss.num_negatives or "
        if hasattr(run.loss, "memory"):
            few = "set loss.memory=chunks, which gives the same result"
            remedy = f"{few}, take loss.kind=sampled_softmax, "
        raise ConfigError(
            f"loss={run.loss.kind} would hold {what}, about {_size(held.bytes)}, and "
            f"{_size(free)} are free: {remedy}lower training.batch_size (or batch_tokens), or "
            "raise engine.accumulate"
        )
    if held.bytes < WORTH_SAYING:
        return None
    return f"loss {run.loss.kind} holds {what}: at most {_size(held.bytes)}"


def _free(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return limits.memory()[1]


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
