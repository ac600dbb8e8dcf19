"""The context of an event, computed from times: the gap since the event before, hour, weekday.

The time until the event that follows is context too where a model may know it: what people do after
a pause differs from what they do next in a visit, and a query by date comes after a pause.
"""

from typing import Literal

import torch
from torch import nn

from itrec_dist.data.manifest import Manifest
from itrec_dist.data.schema import Batch
from itrec_dist.data.spec import DataSpec
from itrec_dist.errors import ConfigError
from itrec_dist.models.parts.pairs import NUM_BUCKETS, time_buckets
from itrec_dist.models.parts.query_time import CumulativeVectors, query_buckets

ContextName = Literal["gap", "hour", "weekday", "time_of_query"]
"""Time since the event before; hour of the day and day of the week, both in UTC; time until the
event that follows, which is the one to predict."""

_HOUR = 3600.0
_SECONDS_AND_VALUES: dict[str, tuple[float, int]] = {
    "hour": (_HOUR, 24),
    "weekday": (24 * _HOUR, 7),
}
_STD = 0.02


def refuse_untimed(names: tuple[ContextName, ...], data: Manifest) -> None:
    """Refuse data without the times that a context is computed from.

    Raises:
        ConfigError: the message says what the data lacks.
    """
    if names and not data.has_times:
        raise ConfigError(
            f"model.event_context={','.join(names)} needs the times of events, the shards have "
            "none: window the data with its timestamps, or leave it out"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"model.event_context names {twice[0]} twice: give each once")
    clock = [name for name in names if name in _SECONDS_AND_VALUES]
    if clock and not data.seconds_per_unit:
        raise ConfigError(
            f"model.event_context={','.join(names)}: {clock[0]} needs the unit of the times, which "
            "the shards do not say: window the data with --time_unit, or choose gap alone"
        )


class EventContext(nn.Module):
    """A vector per bucket of the gap, per hour and per weekday; what is asked for is summed."""

    def __init__(self, names: tuple[ContextName, ...], spec: DataSpec, width: int) -> None:
        super().__init__()
        self.seconds_per_unit = spec.seconds_per_unit
        self.values = nn.ModuleDict()
        for name in names:
            if name == "time_of_query":
                self.values[name] = CumulativeVectors(width)
                continue
            _, count = _SECONDS_AND_VALUES.get(name, (0.0, NUM_BUCKETS))
            vectors = nn.Embedding(count, width)
            nn.init.normal_(vectors.weight, std=_STD)
            self.values[name] = vectors

    def forward(self, batch: Batch, is_known_BL: torch.Tensor) -> torch.Tensor:
        """The vectors of events, [B, L, D]; zero where an event is not known.

        The gap is not known either where the event before is not, as for the first one of a row,
        nor is the time of the query where the event that follows is hidden.
        """
        times_BL = batch.times_BL
        assert times_BL is not None, "the model's settings say uses_times"
        total = torch.zeros((), device=times_BL.device)
        for name, vectors in self.values.items():
            if name == "gap":
                before_BL, is_after_BL = times_BL.roll(1, dims=1), is_known_BL.roll(1, dims=1)
                is_after_BL[:, 0] = False
                codes_BL = time_buckets((times_BL - before_BL).abs_())
                is_there_BL = is_known_BL & is_after_BL
            elif name == "time_of_query":
                codes_BL, is_last_BL = query_buckets(batch)
                is_there_BL = is_known_BL & (is_last_BL | is_known_BL.roll(-1, dims=1))
            else:
                seconds, count = _SECONDS_AND_VALUES[name]
                # Whole numbers: in float32, seconds since 1970 are off by a minute.
                codes_BL = times_BL // round(seconds / self.seconds_per_unit) % count
                is_there_BL = is_known_BL
            total = total + vectors(codes_BL) * is_there_BL.unsqueeze(2)
        return total
