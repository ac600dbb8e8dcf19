"""The causal transformer of `tests/outside/` for the next-items task, named as `module:Class`."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tests.outside.bookshop import causal

KIND = "tests.causal_model:CausalConfig"


@dataclass(frozen=True)
class CausalConfig(causal.CausalConfig):
    """Its shape."""

    task: ClassVar[str] = "next_items"

    kind: Literal["tests.causal_model:CausalConfig"] = KIND  # type: ignore[assignment]
    """Kind of model."""
