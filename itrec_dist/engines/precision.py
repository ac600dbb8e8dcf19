"""The numeric precisions: what autocast makes of them, the same under every engine."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
"""What may be asked for. Workers settle `auto` before they build an engine
(training/precision.py); an engine that is given `auto` computes in fp32."""

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: PrecisionChoice) -> torch.autocast:
    """The autocast context of a precision; a disabled one for fp32."""
    return torch.autocast(
        device.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST
    )


def loss_scaler(device: torch.device, precision: PrecisionChoice) -> torch.amp.GradScaler:
    """The scaler that keeps fp16's small gradients; one that does nothing for the others."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


class LossScale:
    """The loss scale of fp16 by torch's own rule, for gradients that torch's scaler cannot see."""

    def __init__(self, device: torch.device, precision: PrecisionChoice) -> None:
        self.scaler = loss_scaler(device, precision)
        self.is_enabled = self.scaler.is_enabled()
        self._sign = nn.Parameter(torch.zeros((), device=device))  # its gradient stands for all
        # Updates nothing: GradScaler finds an overflow only in an optimiser's gradients.
        self._dummy_optimizer = torch.optim.SGD([self._sign], lr=0.0)
        self.scaler.scale(self._sign)  # before the first call there is no scale

    @property
    def value(self) -> float:
        """What losses are multiplied with; 1 where they are not."""
        return float(self.scaler.get_scale())

    def update(self, is_left_out: bool) -> None:
        """Lower the scale after an update that was left out; raise it after many that were not."""
        self._sign.grad = torch.full_like(self._sign, math.inf if is_left_out else 0.0)
        self.scaler.step(self._dummy_optimizer)
        self.scaler.update()

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a scaler, if there is one to take and one to give."""
        if self.is_enabled and state:
            self.scaler.load_state_dict(dict(state))
