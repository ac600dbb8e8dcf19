"""`itrec window`: cuts events into the windows of a task."""

import time
from typing import Any

from itrec_dist.api.shards import windowed
from itrec_dist.options.window import every_parser, parser
from itrec_dist.storage.uri import shown

__all__ = ["every_parser", "parser", "run"]

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Window, then print filters, coverage, splits and leakage."""
    started = time.perf_counter()
    given = ", ".join(shown(str(place)) for place in parsed.input)
    print(f"windowing {given} ({parsed.source}, {parsed.protocol})", flush=True)
    data = windowed(parsed)
    print("\n".join([data.summary(), "", *(f"warning: {text}" for text in data.warnings)]))
    print(f"wrote {parsed.out} in {time.perf_counter() - started:.1f} s")
    return 0
