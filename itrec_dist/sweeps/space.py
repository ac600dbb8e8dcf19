"""Search spaces: which settings of a run are searched, over which values, under which conditions.

A space maps dotted names of a `RunConfig` to dimensions, as written in recipes:

    loss:                     {grid: [ce, bce, softmax]}
    model.num_layers:         {integer: [1, 4]}
    model.dropout:            {uniform: [0.0, 0.5], step: 0.1}
    optimizer.learning_rate:  {loguniform: [1.0e-4, 1.0e-2]}
    model.kind:               {grid: [sasrec, hstu]}
    model.linear_width:       {choice: [256, 512], when: {model.kind: sasrec}}

`grid` values are crossed with each other under every algorithm, so that each combination gets
equally many trials; all other dimensions are crossed by the grid search and drawn by the others. A
dimension with `when` exists only if the dimensions named there have one of the given values;
otherwise its setting keeps the value of the base. A model or loss of another kind than the base's
keeps what the base sets, where it has such a setting too.

Every name, type and value is checked when the space is read. Nothing here depends on Ray or Optuna.
"""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from itrec_dist import config
from itrec_dist.config import as_text
from itrec_dist.config.setter import Setter
from itrec_dist.errors import ConfigError
from itrec_dist.training.config import RunConfig

Value = str | int | float | bool | list[Any] | None
Assignment = dict[str, Value]
"""Dotted name -> value, for the dimensions that exist in one trial."""

Kind = Literal["grid", "choice", "uniform", "loguniform", "integer"]
KINDS: tuple[Kind, ...] = ("grid", "choice", "uniform", "loguniform", "integer")

_OPTIONS = ("step", "log", "when")
_LONG_NAMES = {"loss.kind": "loss", "model.kind": "model"}
_OWN = {
    "shards": "the sweep's own `shards`",
    "out": "the sweep's own `out`",
    "name": "the sweep, which names its runs",
    "seed": "`seeds`: seeds are averaged, not searched",
    "training.monitor": "`metric`",
    "training.log_seconds": "the base: it does not affect the result",
}
_OWN_SECTIONS = {
    "cluster": "`resources` and the base",
    "evaluation": "the base",
    "checkpoints": "the base",
}


@dataclass(frozen=True)
class Dimension:
    """One searched setting."""

    name: str
    kind: Kind
    values: tuple[Value, ...] = ()
    """All values: of a grid or choice, of a range with steps, or of whole numbers."""
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    is_log: bool = False
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    """Conditions, all of which must hold: (other dimension, its values for which this exists)."""

    @property
    def is_finite(self) -> bool:
        """Whether its values can be listed."""
        return bool(self.values)

    def exists(self, chosen: Mapping[str, Value]) -> bool:
        """Whether it exists, given the values of the dimensions before it."""
        return all(name in chosen and chosen[name] in values for name, values in self.when)

    def draw(self, rng: random.Random) -> Value:
        """One random value: uniform over a list, a range, or the logarithm of a range."""
        if self.values and not (self.kind == "integer" and self.is_log):
            return rng.choice(self.values)
        if not self.is_log:
            return rng.uniform(self.low, self.high)
        drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        if self.kind == "integer":
            return min(self.values, key=lambda v: abs(float(v) - drawn))  # type: ignore[arg-type]
        return min(max(drawn, self.low), self.high)


@dataclass(frozen=True)
class Space:
    """All dimensions; those that others depend on come first."""

    dimensions: tuple[Dimension, ...]

    def __getitem__(self, name: str) -> Dimension:
        return next(d for d in self.dimensions if d.name == name)

    @property
    def names(self) -> list[str]:
        """The searched settings."""
        return [d.name for d in self.dimensions]

    @property
    def endless(self) -> list[str]:
        """The dimensions whose values cannot be listed: ranges without a step."""
        return [d.name for d in self.dimensions if not d.is_finite]

    def combinations(self) -> Iterator[Assignment]:
        """Every combination of listed values, the last dimension changing fastest."""
        yield from _crossed(self.dimensions, {})

    def turns(self) -> list[Assignment]:
        """The combinations of grid dimensions, which every search cycles through."""
        return list(_crossed([d for d in self.dimensions if d.kind == "grid"], {}))

    def draws(self, seed: int) -> Iterator[Assignment]:
        """An endless stream of random assignments, determined by the seed.

        In a small space, a combination is repeated only after a hundred draws found no new one.
        """
        turns = self.turns()
        seen: set[str] = set()
        for index in itertools.count():
            rng = random.Random(f"{seed}/{index}")
            for _ in range(100):
                drawn = self._draw(dict(turns[index % len(turns)]), rng)
                key = json.dumps(drawn, sort_keys=True)
                if key not in seen:
                    break
            seen.add(key)
            yield drawn

    def _draw(self, fixed: Assignment, rng: random.Random) -> Assignment:
        chosen: Assignment = {}
        for dimension in self.dimensions:
            if dimension.name in fixed:
                chosen[dimension.name] = fixed[dimension.name]
            elif dimension.kind != "grid" and dimension.exists(chosen):
                chosen[dimension.name] = dimension.draw(rng)
        return chosen


def parse(raw: Mapping[str, Any], base: RunConfig | Setter[RunConfig]) -> Space:
    """Parse a space as written in recipes, over the settings of the base.

    Raises:
        ConfigError: the space is empty, a name is not a setting or not searchable, a value has
            another type than the setting, or a range or condition is impossible.
    """
    if not raw:
        example = "optimizer.learning_rate: {loguniform: [1.0e-4, 1.0e-2]}"
        raise ConfigError(f"space is empty: name at least one setting, such as `{example}`")
    base = base if isinstance(base, Setter) else Setter(base)
    for long, short in _LONG_NAMES.items():
        if long in raw and short in raw:
            raise ConfigError(f"space.{long} and space.{short} both name {long}: remove one")
    raw = {_LONG_NAMES.get(str(name), str(name)): given for name, given in raw.items()}
    kinds = _kinds(raw, base)
    names = dict.fromkeys(name for chosen in kinds for name in base.names(chosen))
    for name in raw:
        _check_searchable(name, list(names))
    readers = {name: _Reader(name, base, kinds) for name in raw}
    read = {name: readers[name].dimension(given) for name, given in raw.items()}
    dimensions = {
        name: replace(d, when=_conditions(name, raw[name].get("when", {}), read, readers))
        for name, d in read.items()
    }
    return Space(_ordered(dimensions))


def _kinds(raw: Mapping[str, Any], base: Setter[RunConfig]) -> list[dict[str, str]]:
    """The kinds of model and of loss that trials may have; each may have settings of its own."""
    kinds: list[dict[str, str]] = [{}]
    for section in _LONG_NAMES.values():
        given = raw.get(section)
        listed = given.get("grid", given.get("choice")) if isinstance(given, Mapping) else None
        found = map(as_text, listed if isinstance(listed, list | tuple) else [])
        kinds += ({section: kind} for kind in found if base.has_kind(section, kind))
    return kinds


def _check_searchable(name: str, names: Sequence[str]) -> None:
    owner = _OWN.get(name) or _OWN_SECTIONS.get(name.partition(".")[0])
    if owner:
        raise ConfigError(f"space.{name} cannot be searched, it belongs to {owner}: remove it")
    if name in names:
        return
    if any(other.startswith(f"{name}.") for other in names):
        inner = ", ".join(other for other in names if other.startswith(f"{name}."))
        raise ConfigError(f"space.{name} is a section, not a setting: name one of {inner}")
    raise ConfigError(f"space: there is no setting {name}{config.valid(name, names)}")


class _Reader:
    """Parses one dimension, except for `when`, which needs all dimensions."""

    def __init__(self, name: str, base: Setter[RunConfig], kinds: Sequence[dict[str, str]]) -> None:
        self._name, self._base = name, base
        # The first kind that has this setting determines its type.
        self._chosen = next((chosen for chosen in kinds if name in base.names(chosen)), {})

    def dimension(self, given: Any) -> Dimension:
        name = self._name
        kinds = [k for k in KINDS if isinstance(given, Mapping) and k in given]
        if len(kinds) != 1:
            raise ConfigError(
                f"space.{name} must hold one of {', '.join(KINDS)}, as in `{{choice: [1, 2]}}`, "
                f"not {given!r}"
            )
        kind = kinds[0]
        unknown = [key for key in given if key not in (kind, *_OPTIONS)]
        if unknown:
            raise ConfigError(
                f"space.{name} has no option {unknown[0]!r}; valid beside {kind}: "
                f"{', '.join(_OPTIONS)}"
            )
        if kind not in ("grid", "choice"):
            return self._range(kind, given)
        for option in ("step", "log"):
            if option in given:
                raise ConfigError(f"space.{name}.{option} belongs to ranges, not to {kind}")
        return Dimension(name, kind, self._listed(kind, given[kind]))

    def typed(self, value: Any) -> Value:
        """A value, parsed as the setting's type.

        Raises:
            ConfigError: it has another type.
        """
        try:
            read: Value = self._base.plain(self._name, value, self._chosen)
        except ConfigError as error:
            name = "" if str(error).startswith(self._name) else f"{self._name}: "
            raise ConfigError(f"space.{name}{error}") from error
        return read

    def _listed(self, kind: Kind, values: Any) -> tuple[Value, ...]:
        if not isinstance(values, (list, tuple)) or not values:
            raise ConfigError(
                f"space.{self._name}.{kind} must be a list of at least one value, not {values!r}"
            )
        parsed: list[Value] = []
        for value in values:
            read = self.typed(value)
            if read in parsed:
                raise ConfigError(f"space.{self._name}.{kind} names {value!r} twice: remove one")
            parsed.append(read)
        return tuple(parsed)

    def _range(self, kind: Kind, given: Mapping[str, Any]) -> Dimension:
        name, ends = self._name, given[kind]
        if not isinstance(ends, (list, tuple)) or len(ends) != 2:
            raise ConfigError(
                f"space.{name}.{kind} must be two numbers, the lowest and the highest, not {ends!r}"
            )
        self._check_takes_range(kind)
        low, high = (self._number(kind, end) for end in ends)
        if not low < high:
            raise ConfigError(
                f"space.{name}.{kind} is empty: the first number must be below the second, "
                f"not [{low:g}, {high:g}]"
            )
        if "log" in given and kind != "integer":
            raise ConfigError(f"space.{name}.log belongs to integer; write loguniform for numbers")
        is_log = kind == "loguniform" or given.get("log") is True
        if is_log and low <= 0:
            raise ConfigError(
                f"space.{name}.{kind} starts at {low:g}: a logarithm needs numbers above 0"
            )
        step = self._step(kind, given.get("step"), high - low)
        values: tuple[Value, ...] = ()
        if kind == "integer":
            values = tuple(range(int(low), int(high) + 1, int(step or 1)))
        elif step:
            count = math.floor((high - low) / step + 1e-9) + 1
            values = tuple(float(f"{low + i * step:.12g}") for i in range(count))
        for end in (values[0], values[-1]) if values else (low, high):
            self.typed(end)
        return Dimension(name, kind, values, low, high, step, is_log)

    def _check_takes_range(self, kind: Kind) -> None:
        """Check that the setting takes the numbers of a range: fractions, or whole numbers."""
        where = f"space.{self._name}.{kind}"
        if self._takes_number("1" if kind == "integer" else "0.5"):
            return
        if self._takes_number("1"):
            raise ConfigError(
                f"{where} draws fractions, the setting takes whole numbers: write integer"
            )
        raise ConfigError(
            f"{where} is a range of numbers, the setting takes none: list its values under choice"
        )

    def _takes_number(self, probe: str) -> bool:
        try:
            read = self._base.plain(self._name, probe, self._chosen)
        except ConfigError:
            return False
        return isinstance(read, (int, float)) and not isinstance(read, bool)

    def _step(self, kind: Kind, step: Any, width: float) -> float | None:
        if step is None:
            return None
        size = self._number("step", step)
        if kind == "loguniform":
            raise ConfigError(
                f"space.{self._name}.step belongs to uniform and integer, not to loguniform"
            )
        if not 0 < size <= width or (kind == "integer" and size != int(size)):
            whole = " and whole" if kind == "integer" else ""
            raise ConfigError(
                f"space.{self._name}.step={step} must be above 0{whole}, and at most the range's "
                f"width {width:g}"
            )
        return size

    def _number(self, kind: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise ConfigError(f"space.{self._name}.{kind} holds {value!r}, which is not a number")
        if kind == "integer" and number != int(number):
            raise ConfigError(
                f"space.{self._name}.integer holds {value!r}, which is not a whole number"
            )
        return number


def _conditions(
    name: str, when: Any, every: Mapping[str, Dimension], readers: Mapping[str, _Reader]
) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    if not isinstance(when, Mapping):
        raise ConfigError(
            f"space.{name}.when must name dimensions and their values, as in "
            f"`{{loss: bce}}`, not {when!r}"
        )
    conditions = []
    for given, values in when.items():
        other = _LONG_NAMES.get(str(given), str(given))
        if other not in every or other == name:
            raise ConfigError(
                f"space.{name}.when names {other}, which is not another dimension of this space: "
                f"{', '.join(n for n in every if n != name) or 'it has none'}"
            )
        if not every[other].is_finite:
            raise ConfigError(
                f"space.{name}.when names {other}, whose values cannot be listed: give it a step, "
                "or list its values under choice"
            )
        if every[name].kind == "grid" and every[other].kind != "grid":
            raise ConfigError(
                f"space.{name} is a grid that depends on {other}, which is drawn: make both grid, "
                "or this one choice"
            )
        listed = values if isinstance(values, (list, tuple)) else [values]
        read = tuple(readers[other].typed(value) for value in listed)
        lost = [value for value in read if value not in every[other].values]
        if lost or not read:
            raise ConfigError(
                f"space.{name}.when needs {other}={lost[0] if lost else 'nothing'}, which "
                f"never has that value; it has: {', '.join(map(as_text, every[other].values))}"
            )
        conditions.append((other, read))
    return tuple(conditions)


def _ordered(dimensions: dict[str, Dimension]) -> tuple[Dimension, ...]:
    """The dimensions in the order written, except that those others depend on come first."""
    placed: dict[str, Dimension] = {}
    while len(placed) < len(dimensions):
        ready = [
            d for d in dimensions.values()
            if d.name not in placed and all(other in placed for other, _ in d.when)
        ]  # fmt: skip
        if not ready:
            circle = ", ".join(name for name in dimensions if name not in placed)
            raise ConfigError(f"space: {circle} depend on each other: remove one `when`")
        placed[ready[0].name] = ready[0]
    return tuple(placed.values())


def _crossed(dimensions: Sequence[Dimension], chosen: Assignment) -> Iterator[Assignment]:
    if not dimensions:
        yield dict(chosen)
        return
    first, rest = dimensions[0], dimensions[1:]
    if not first.exists(chosen):
        yield from _crossed(rest, chosen)
        return
    for value in first.values:
        yield from _crossed(rest, {**chosen, first.name: value})
