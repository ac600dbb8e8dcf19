"""Windows of inputs of any kind, or the sentence by which they are refused."""

from pathlib import Path

import pyarrow as pa
import pytest

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.sources.table import TableConfig
from itrec_dist.errors import ConfigError, DataError, EnvironmentProblem
from itrec_dist.tasks.next_items.windows import WindowConfig, window

TINY = WindowConfig(
    min_user_events=1, input_length=2, target_length=1, stride=1, validation_fraction=0.0, threads=1
)

EVENTS = pa.table({
    "user": [f"u{n % 4}" for n in range(48)],
    "item": [n * 7 % 9 for n in range(48)],
    "timestamp": [f"2020-01-{n // 24 + 1:02} {n % 24:02}:00:00" for n in range(48)],
    "shop": ["a b/%" if n % 4 else "1" for n in range(48)],
})  # fmt: skip


def read(folder: Path, place: object, **given: object) -> Manifest:
    return window("table", place, folder / "out", TINY, TableConfig(**given), overwrite=True)


def refusal(folder: Path, place: object, **given: object) -> str:
    with pytest.raises((ConfigError, DataError, EnvironmentProblem)) as caught:
        read(folder, place, **given)
    assert not (folder / "out").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
