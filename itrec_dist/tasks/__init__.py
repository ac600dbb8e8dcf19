"""The tasks: one file each; a task is model + loss behind `Batch -> TaskOutput`."""

from dataclasses import dataclass

import torch


@dataclass
class TaskOutput:
    """What a task returns for a batch: the loss of each window, [B], and the scores, [B, C]."""

    loss_B: torch.Tensor
    scores_BC: torch.Tensor
