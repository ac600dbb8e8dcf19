"""Starts a run: in this process, in those that torchrun has started, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from itrec_dist.distributed import torchrun
from itrec_dist.errors import ConfigError
from itrec_dist.runs.console import ProgressView
from itrec_dist.storage import ray_job_folder

if TYPE_CHECKING:
    from itrec_dist.distributed.context import WorkerContext
    from itrec_dist.distributed.torchrun import Peers
    from itrec_dist.storage.uri import Uri
    from itrec_dist.training.config import RunConfig
    from itrec_dist.training.setup import Existing
    from itrec_dist.training.worker import TakeResumePoint


def train(
    config: RunConfig, *, local: bool, address: str | None = None, existing: Existing = "refuse",
    view: ProgressView | None = None,
) -> None:  # fmt: skip
    """Check, prepare the run directory, and train; nothing is written before all checks pass.

    Args:
        config: the whole configuration.
        local: whether to train in this process, without Ray.
        address: the Ray cluster to join; None starts one on this machine.
        existing: what to do with a run that is already in the output directory.
        view: shows the course of the run; None shows it on standard output.

    Raises:
        ItrecError: the settings, the data or the output do not allow it, or training went wrong.
    """
    view = view or ProgressView()
    for name, place in (("--out", config.out), ("--shards", config.shards)):
        if isinstance(place, Path):
            ray_job_folder.refuse_path(place, name)
    # Workers, and later readers of the run, may have another working directory.
    config = dataclasses.replace(config, shards=_absolute(config.shards), out=_absolute(config.out))
    if config.item_vectors is not None:
        config = dataclasses.replace(config, item_vectors=config.item_vectors.absolute())
    peers = torchrun.peers()
    if peers:  # --local or not: in Python 3.11 torchrun takes --local for one of its own options
        if address:
            raise ConfigError(
                f"--address={address} names a Ray cluster, and torchrun has started the workers: "
                "use one of the two"
            )
        _train_together(config, peers, existing, view)
    elif local:
        _train_here(config, existing, view)
    else:
        _train_on_ray(config, address, existing, view)


def _absolute(place: Uri | Path) -> Uri | Path:
    return place.absolute() if isinstance(place, Path) else place


def _train_on_ray(
    config: RunConfig, address: str | None, existing: Existing, view: ProgressView
) -> None:
    from itrec_dist import launch
    from itrec_dist.training.config import check_device
    from itrec_dist.training.setup import RunSetup

    with RunSetup(config, existing, is_worker=False) as setup:
        data = setup.check(config.cluster.num_workers)
        use_gpu = launch.connect(config, address, view)
        check_device(config, has_gpu=use_gpu)
        setup.prepare(data)
        launch.launch(config, use_gpu, view, resume=existing == "resume")


def _train_here(config: RunConfig, existing: Existing, view: ProgressView) -> None:
    from itrec_dist.distributed.context import LocalContext, choose_device
    from itrec_dist.training.config import check_device
    from itrec_dist.training.setup import RunSetup

    device = choose_device(config.cluster.use_gpu)
    check_device(config, has_gpu=device.type == "cuda")
    with RunSetup(config, existing) as setup:
        setup.prepare(setup.check(1))
        if device.type == "cuda":
            _tell_of_idle_gpus(view)
        context = LocalContext(device, config.cluster.threads)
        _work(config, context, view, setup.take_resume_point)


def _train_together(
    config: RunConfig, peers: Peers, existing: Existing, view: ProgressView
) -> None:
    from itrec_dist.distributed.context import TorchrunContext, choose_device
    from itrec_dist.training.config import check_device
    from itrec_dist.training.setup import RunSetup

    at = peers.at
    device = choose_device(config.cluster.use_gpu, at.local_rank, at.local_world_size)
    check_device(config, has_gpu=device.type == "cuda")
    setups: list[RunSetup] = []  # worker 0's
    with contextlib.ExitStack() as held:

        def prepare() -> bool:
            begun = peers.has_begun(str(config.out))
            found = _existing_now(config, existing) if begun else existing
            if found is None:
                return False
            setup = held.enter_context(RunSetup(config, found))
            setup.prepare(setup.check(at.world_size))
            setups.append(setup)
            peers.record_begun(str(config.out))
            return True

        if peers.decide_on_first(prepare):
            context = TorchrunContext(peers, device, config.cluster.threads)
            _work(config, context, view, setups[0].take_resume_point if setups else None)


def _existing_now(config: RunConfig, existing: Existing) -> Existing | None:
    """What to do with the run that earlier workers began; None if it is complete."""
    from itrec_dist.runs.checkpoints import retention
    from itrec_dist.runs.directory import LAST, RunDirectory

    run = RunDirectory(config.folder)
    if run.is_complete:
        return None
    retention.finish_interrupted(run.checkpoints)
    has_begun_only = run.config.is_file() and not (run.checkpoints / LAST).is_dir()
    return "overwrite" if has_begun_only and existing != "resume" else "resume"


def _work(
    config: RunConfig, context: WorkerContext, view: ProgressView, take: TakeResumePoint | None
) -> None:
    from itrec_dist.training.worker import run_worker

    try:
        run_worker(config, context, view, take=take)
    finally:
        view.close()


def _tell_of_idle_gpus(view: ProgressView) -> None:
    import torch

    if (gpus := torch.cuda.device_count()) > 1:
        message = (
            f"one of {gpus} GPUs is used: torchrun --nproc-per-node {gpus} -m itrec_dist train "
            "... uses them all, and so does Ray without --local"
        )
        view({"event": "note", "message": message})
