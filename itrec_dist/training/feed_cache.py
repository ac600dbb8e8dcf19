"""Where the workers of a run keep their splits."""

from pathlib import Path

import torch

from itrec_dist.data.feeds import CacheName, resolve_cache
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.shards import fetch
from itrec_dist.distributed.context import WorkerContext
from itrec_dist.errors import ConfigError
from itrec_dist.runs.checkpoints.training_state import State
from itrec_dist.training.config import RunConfig


def shards_on_this_machine(run: RunConfig) -> Path:
    """The shards folder, or a copy; of histories at a URI that are streamed, without the splits.

    Raises:
        ConfigError: there is no manifest at the URI.
        EnvironmentProblem: the URI cannot be reached.
        OutputError: the disk of this machine is full.
    """
    if run.feed.cache == "none" and fetch.manifest_of(run.shards).samples == "histories":
        return fetch.without_splits(run.shards)
    return fetch.local(run.shards)


def settle(
    run: RunConfig, manifest: Manifest, context: WorkerContext, state: State | None
) -> CacheName:
    """Where splits are kept; a resumed run keeps the order of windows it started with.

    Called by all workers.

    Raises:
        ConfigError: the settings ask for another order than the run began with.
    """
    device = context.device
    cache = resolve_cache(run.feed.cache, manifest, device, times=run.model.uses_times)
    # If one worker lacks the memory, all stream: cached and streamed batches do not match.
    if context.sum(torch.tensor([float(cache == "none")], device=device)):
        cache = "none"
    if state is None or state.provenance.is_streamed == (cache == "none"):
        return cache
    if run.feed.cache == "auto" and state.provenance.is_streamed:
        return "none"
    had, needed = ("streamed its windows", "none")
    if not state.provenance.is_streamed:
        had, needed = ("kept its windows in memory", "host")
    raise ConfigError(
        f"the run {had}, and feed.cache={run.feed.cache} would now use another order: "
        f"resume it with feed.cache={needed}"
    )
