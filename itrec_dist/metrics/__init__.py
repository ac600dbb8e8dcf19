"""Metrics: one file each, found by name, and the judges that compute them.

A file `some_name.py` holds one class `SomeNameMetric`, a `RankingMetric` or a `RatingMetric`;
no other file needs to change. Importing this package does not import torch.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from itrec_dist.config.registry import Registry
from itrec_dist.errors import ConfigError
from itrec_dist.metrics.metric import LOSS, FigureName, Metric, MetricChoice

METRICS: Registry[type[Metric]] = Registry(
    "metric", "itrec_dist.metrics", group="itrec_dist.metrics", suffix="Metric"
)
"""Name -> class."""

M = TypeVar("M", bound=Metric)

_made: dict[str, Metric] = {}
_given: dict[str, Metric] = {}
"""Metrics given as `module:Class`, by name, because stored figures have only the name."""


def registered() -> dict[str, Metric]:
    """Every metric of this package and of installed ones, by name.

    Raises:
        ConfigError: one cannot be imported, or is not a metric of its name.
    """
    for name in METRICS:
        if name not in _made:
            metric = _metric(METRICS[name], name)
            if metric.name != name:
                raise ConfigError(f"the metric {name!r} calls itself {metric.name!r}: rename one")
            _made[name] = metric
    return {name: _made[name] for name in METRICS}


def load(more: Iterable[str]) -> list[Metric]:
    """The metrics given as `module:Class`; `of` knows them by name from now on.

    Raises:
        ConfigError: one cannot be imported, is not a metric, or has the name of another one.
    """
    loaded = [_metric(METRICS[path], path) for path in more]
    for metric in loaded:
        other = registered().get(metric.name) or _given.get(metric.name)
        if other is not None and type(other) is not type(metric):
            raise ConfigError(
                f"there are two metrics named {metric.name!r}, {_class_path(other)} and "
                f"{_class_path(metric)}: rename one"
            )
        _given[metric.name] = metric
    return loaded


def known() -> dict[str, Metric]:
    """Every metric that this process knows, by name."""
    return registered() | _given


def of(name: str) -> Metric:
    """The metric of a name; an unknown one is labelled by it, has no direction and comes last.

    A run may hold figures of a package that is not installed here.
    """
    if (metric := known().get(name)) is not None:
        return metric
    unknown = Metric()
    unknown.name, unknown.label = name, name.replace("_", " ").capitalize()
    return unknown


def chosen(kind: type[M], choice: MetricChoice) -> list[M]:
    """The metrics of a kind that a judge computes, in their order."""
    every = [*registered().values(), *load(choice.more)]
    return sorted((m for m in every if isinstance(m, kind)), key=lambda m: m.order)


def groups() -> list[str]:
    """The groups that known metrics belong to, in the order of the metrics."""
    in_order = sorted(known().values(), key=lambda metric: metric.order)
    names = dict.fromkeys(group for metric in in_order for group in metric.groups)
    return [group for group in names if group]


def figures(groups: Sequence[str], choice: MetricChoice) -> list[FigureName]:
    """The loss and the figures of some groups, in their order."""
    every = sorted((*registered().values(), *load(choice.more)), key=lambda metric: metric.order)
    names = [LOSS]
    for group in groups:
        for metric in every:
            if group in metric.groups:
                cutoffs = sorted(choice.cutoffs) if metric.has_cutoffs else [None]
                names += [FigureName(group, metric.name, k) for k in cutoffs]
    return names


def monitors(groups: Sequence[str], choice: MetricChoice) -> list[FigureName]:
    """The figures that can choose a best epoch, because they have a direction."""
    return [f for f in figures(groups, choice) if of(f.metric).higher_is_better is not None]


def in_order(names: Iterable[FigureName]) -> list[FigureName]:
    """Figures by group, metric and cut-off, each once; unknown metrics come last."""
    place = {group: at for at, group in enumerate(("", *groups()))}

    def key(name: FigureName) -> tuple[int, str, int, str, int]:
        at = place.get(name.group, len(place))
        return at, name.group, of(name.metric).order, name.metric, name.cutoff or 0

    return sorted(set(names), key=key)


def lower_is_better(name: FigureName) -> bool:
    """Whether a lower value of the figure is better."""
    return of(name.metric).higher_is_better is False


def has_no_best(name: FigureName) -> bool:
    """Whether a figure's metric is known but has no direction, so that it cannot choose."""
    metric = known().get(name.metric)
    return metric is not None and metric.higher_is_better is None


def refusal(
    name: str, given: str, valid: Sequence[FigureName], why: str = "is not a figure"
) -> str | None:
    """Why a setting cannot choose by this figure, or None if it can.

    `why` is the complaint about a figure that is not among `valid`.
    """
    try:
        figure = FigureName.parse(given)
    except ConfigError:
        figure = None
    if figure in valid:
        return None
    listed = ", ".join(map(str, valid))
    if figure is not None and has_no_best(figure):
        return (
            f"{name}={given} describes a model and has no best value to choose by; valid: {listed}"
        )
    return f"{name}={given} {why}; valid: {listed}"


def _metric(cls: object, name: str) -> Metric:
    if not (isinstance(cls, type) and issubclass(cls, Metric)):
        raise ConfigError(
            f"{name} is not a metric: give a class derived from metrics.metric.Metric"
        )
    return cls()


def _class_path(metric: Metric) -> str:
    return f"{type(metric).__module__}:{type(metric).__qualname__}"
