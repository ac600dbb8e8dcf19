"""Cross entropy over all targets: the next items as draws from one softmax over the catalogue.

The published comparison sets cross entropy on one target against binary cross entropy on five;
this loss sees the same five targets as the latter and so separates the form of the loss from the
number of labels. It is the multinomial likelihood of Liang et al., Variational Autoencoders for
Collaborative Filtering (2018), equation 2, on the targets of a window.
"""

import torch


def loss(logits_BC: torch.Tensor, target_ids_BK: torch.Tensor) -> torch.Tensor:
    """Mean over the targets of their negative log-probability, [B]; a repeat counts again."""
    columns_BK = target_ids_BK.long() - 1
    log_normaliser_B = torch.logsumexp(logits_BC, dim=1)
    return log_normaliser_B - logits_BC.gather(1, columns_BK).mean(dim=1)


def initial_bias(target_counts_C: torch.Tensor, num_windows: int) -> torch.Tensor:  # noqa: ARG001
    """Log-probability of each item among the training targets, smoothed by one count, [C]."""
    smoothed_C = target_counts_C.float() + 1.0
    return torch.log(smoothed_C / smoothed_C.sum())
