"""The loss, as a figure that can choose the best epoch."""

from itrec_dist.metrics.metric import Metric


class LossMetric(Metric):
    """Mean loss over windows, on the scale of the training loss."""

    name = "loss"
    label = "Loss"
    short = "loss"
    groups = ("",)
    higher_is_better = False
    order = 0
