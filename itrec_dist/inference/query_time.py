"""When recommendations are asked for, in the unit of the times that a model was trained on."""

import time
from datetime import UTC, datetime

from itrec_dist.data.manifest import Manifest
from itrec_dist.errors import ConfigError
from itrec_dist.inference.load import Restored

NOW = "now"


def given(restored: Restored, at: str) -> int:
    """The time of the query in the unit of the data's times, for a model that is told it.

    Raises:
        ConfigError: it is not told, or this is no time; see `in_units`.
    """
    if not restored.run.model.uses_time_of_query:
        raise ConfigError(
            "--at is for models that are told the time of the query, by model.time_of_query=true "
            "or time_of_query in model.event_context, and this one is not: leave it out"
        )
    return in_units(at, restored.manifest)


def in_units(at: str | float | datetime, manifest: Manifest) -> int:
    """A moment in the unit of the data's times.

    Args:
        at: a number of that unit, counted as the source counts; a date or a date and time, in UTC
            where it names no zone; or `now`.
        manifest: the data's.

    Raises:
        ConfigError: it is none of these, or the data does not say what its numbers are.
    """
    number = _number(at)
    if number is not None:
        # Times with fractions are kept as whole numbers of a millionth of the source's unit.
        return round(number * float(manifest.time_unit.partition(" / ")[2] or 1))
    if at == NOW:
        seconds = time.time()
    else:
        moment = at if isinstance(at, datetime) else _moment(str(at))
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not manifest.seconds_per_unit:
        raise ConfigError(
            f"--at {at}: the data does not say the unit of its times, so that a date has no number "
            "there: give the number, or window the data with --time_unit"
        )
    return round(seconds / manifest.seconds_per_unit)


def _number(at: str | float | datetime) -> float | None:
    if isinstance(at, datetime):
        return None
    try:
        number = float(at)
    except ValueError:
        return None
    if not abs(number) < float(2**53):
        raise ConfigError(f"--at {at} is no moment: give a number of the data's times, or a date")
    return number


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--at {text} is no moment: give now, a date such as 2024-05-31 or 2024-05-31T18:00, "
            "or a number of the data's times"
        ) from None
