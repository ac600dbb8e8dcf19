"""The order that a judge draws for equal scores, in plain integers."""

import math

import torch


def key(window: int, item: int) -> int:
    """What decides between equal scores, the lowest first: the last steps of SplitMix64."""

    def mixed(value: int) -> int:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            value = ((value ^ (value >> shift)) * factor) % 2**64
        return value

    drawn = mixed((mixed(window + 0x5EED) + item) % 2**64)
    return drawn - 2**64 if drawn >= 2**63 else drawn


def slow_drawn(scores: torch.Tensor, n: int, windows: torch.Tensor) -> torch.Tensor:
    """The ranking by definition, per row: by falling score, then by key; -inf never."""
    tops = []
    for row, window in zip(scores.tolist(), windows.tolist(), strict=True):
        ranked = sorted((-s, key(window, i), i) for i, s in enumerate(row, 1) if s > -math.inf)
        tops.append(([i for *_, i in ranked] + [0] * n)[:n])
    return torch.tensor(tops)
