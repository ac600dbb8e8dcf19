"""What the benchmarks share: turns of several ways in one run, and their ratios as a table.

The machines are noisy, so a figure is never a time by itself: the ways take turns, and each
median is divided by that of a baseline measured in the same turns.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from itrec_dist.system import environment

Way = Callable[[], list[float]]
"""Measures once and returns rates, such as windows per second of each epoch."""


@dataclass(frozen=True)
class Target:
    """What a ratio should at least be."""

    baseline: str
    least: float
    times: float = 1.0
    """The baseline counts so many times, as for two workers against twice one."""


def take_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """Measure every way in every round; returns all rates of each."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name] += way()
    return rates


def table(
    rates: Mapping[str, list[float]], baseline: str, targets: Mapping[str, Target], unit: str
) -> list[str]:
    """Medians, ranges and ratios as lines of Markdown."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    lines = [
        f"| way | {unit}, median | lowest - highest | ratio to {baseline} | target |",
        "|---|---:|---:|---:|---|",
    ]
    for name, values in rates.items():
        note = ""
        if target := targets.get(name):
            ratio = medians[name] / (target.times * medians[target.baseline])
            of = target.baseline if target.times == 1 else f"{target.times:g} x {target.baseline}"
            met = "met" if ratio >= target.least else "missed"
            note = f"{ratio:.2f} of {of}, {met} (>= {target.least:.2f})"
        lines.append(
            f"| {name} | {medians[name]:,.0f} | {min(values):,.0f} - {max(values):,.0f} | "
            f"{medians[name] / medians[baseline]:.2f} | {note} |"
        )
    return lines


def machine() -> str:
    """Processor, accelerator and commit in one line."""
    found = environment.record(seed=0)
    gpu = ", ".join(found.get("gpus") or []) or "no GPU"
    return f"{found['cpu']}, {gpu}; commit {found['git']['commit'][:12]}"
