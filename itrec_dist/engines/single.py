"""The engine for one process, and the one for inference."""

import torch
from torch import nn

from itrec_dist.data.schema import Batch
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.engines.optimizers import OptimizerConfig
from itrec_dist.engines.precision import autocast
from itrec_dist.engines.torch_engine import TorchEngine
from itrec_dist.errors import ConfigError
from itrec_dist.models.output import Output


class SingleEngine(TorchEngine):
    """One process, one device, no communication."""

    name = "single"

    @staticmethod
    def check_settings(engine: EngineConfig, optimizer: OptimizerConfig, num_workers: int) -> None:
        """Refuse more than one worker: each would train a model of its own."""
        del engine, optimizer
        if num_workers > 1:
            raise ConfigError(
                f"engine.name=single trains in one worker, {num_workers} were requested: set "
                "engine.name to ddp, deepspeed, fsdp or auto, or train with one worker"
            )


class InferenceEngine:
    """A task that is not trained, only run: for evaluation and recommendation."""

    def __init__(self, task: nn.Module, engine: EngineConfig, device: torch.device) -> None:
        self.device = device
        self.task = task.to(device)
        self._precision = engine.precision

    def __call__(self, batch: Batch) -> Output:
        """Run the task in the chosen precision, without gradients."""
        with torch.no_grad(), autocast(self.device, self._precision):
            output: Output = self.task(batch)
        return output

    def train(self, mode: bool = True) -> None:
        """Switch training mode, such as dropout, on or off."""
        self.task.train(mode)
