"""The settings of the DeepSpeed engine, and their translation into DeepSpeed's configuration.

DeepSpeed is configured by nested JSON, which is derived here from typed settings.
"""

from dataclasses import dataclass
from typing import Any, Literal

_LARGEST_BUCKET = 500_000_000  # elements; DeepSpeed's own default, which it allocates at once


@dataclass(frozen=True)
class DeepSpeedConfig:
    """What ZeRO shards over the workers, and what is offloaded to CPU memory.

    Source: Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter
    Models; Ren et al., ZeRO-Offload.
    """

    stage: Literal[0, 1, 2, 3] = 2
    """What is sharded over the workers: 0 nothing, 1 the optimiser state, 2 also the gradients, 3
    also the weights."""
    offload_optimizer: bool = False
    """Keep the optimiser state in CPU memory and update the weights there; stages 1 to 3."""
    offload_parameters: bool = False
    """Keep the weights in CPU memory while they are not in use; stage 3 only."""

    def __post_init__(self) -> None:
        if self.offload_optimizer and self.stage == 0:
            raise ValueError(
                "engine.deepspeed.offload_optimizer needs engine.deepspeed.stage 1, 2 or 3, not 0"
            )
        if self.offload_parameters and self.stage != 3:
            raise ValueError(
                f"engine.deepspeed.offload_parameters needs engine.deepspeed.stage 3, not "
                f"{self.stage}"
            )


@dataclass(frozen=True)
class Sizes:
    """Sizes of the module that the configuration depends on, in elements."""

    parameters: int
    longest_vector: int


def derive(
    config: DeepSpeedConfig, accumulate: int, clip_norm: float | None, sizes: Sizes,
    *, pin_memory: bool,
) -> dict[str, Any]:  # fmt: skip
    """Derive DeepSpeed's configuration.

    Args:
        config: the settings.
        accumulate: micro-batches per update.
        clip_norm: largest norm of the gradient, null if it is not clipped.
        sizes: of the module.
        pin_memory: whether to offload to pinned memory, which needs a GPU.
    """
    zero: dict[str, Any] = {
        "stage": config.stage,
        "reduce_bucket_size": min(sizes.parameters, _LARGEST_BUCKET),
        # Biases and norms stay replicated: gathering them costs more than their memory.
        "stage3_param_persistence_threshold": sizes.longest_vector,
    }
    offloaded = {"device": "cpu", "pin_memory": pin_memory}
    if config.offload_optimizer:
        zero["offload_optimizer"] = offloaded
    if config.offload_parameters:
        zero["offload_param"] = offloaded
    return {
        # Used by DeepSpeed for its throughput timer only: feeds size the batches.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulate,
        "gradient_clipping": clip_norm or 0.0,
        # Allows torch's optimisers: SGD is not on DeepSpeed's list, and its own ones for
        # offloading are compiled at first use.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": zero,
    }
