"""The numeric precisions as autocast and loss scaling, the same under every engine."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
"""The precisions of the settings. Workers resolve `auto` before they build an engine
(training/precision.py); an engine that is given `auto` computes in fp32."""

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: PrecisionChoice) -> torch.autocast:
    """The autocast context of a precision; a disabled one for fp32."""
    return torch.autocast(
        device.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST
    )


def loss_scaler(device: torch.device, precision: PrecisionChoice) -> torch.amp.GradScaler:
    """The scaler that prevents underflow of fp16 gradients; disabled for other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


class LossScale:
    """The fp16 loss scale by torch's own rule, for gradients that torch's scaler cannot see."""

    def __init__(self, device: torch.device, precision: PrecisionChoice) -> None:
        self.scaler = loss_scaler(device, precision)
        self.is_enabled = self.scaler.is_enabled()
        # GradScaler finds an overflow only in an optimiser's gradients: this weight's gradient
        # stands for all of them, and the optimiser updates nothing.
        self._dummy_weight = nn.Parameter(torch.zeros((), device=device))
        self._dummy_optimizer = torch.optim.SGD([self._dummy_weight], lr=0.0)
        self.scaler.scale(self._dummy_weight)  # initialises the scale

    @property
    def value(self) -> float:
        """The factor that losses are multiplied by; 1 if they are not scaled."""
        return float(self.scaler.get_scale())

    def update(self, is_skipped: bool) -> None:
        """Lower the scale after a skipped update; raise it after many that were not skipped."""
        self._dummy_weight.grad = torch.full_like(
            self._dummy_weight, math.inf if is_skipped else 0.0
        )
        self.scaler.step(self._dummy_optimizer)
        self.scaler.update()

    def load(self, state: Mapping[str, Any]) -> None:
        """Load the state of a scaler, if scaling is enabled and the state is not empty."""
        if self.is_enabled and state:
            self.scaler.load_state_dict(dict(state))
