"""Optuna's tree-structured Parzen estimator as a proposer, for one or two objectives.

Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization (2011); for two objectives
Ozaki et al., Multiobjective Tree-Structured Parzen Estimator (2022), both in Optuna's
implementation. It is filled from the sweep directory, so that an interrupted search continues with
all earlier results.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from itrec_dist.config import as_text
from itrec_dist.errors import EnvironmentProblem
from itrec_dist.sweeps.config import SweepConfig
from itrec_dist.sweeps.directory import Trial
from itrec_dist.sweeps.pareto import RISING
from itrec_dist.sweeps.space import Assignment, Dimension, Space, Value


class TPE:
    """Proposes assignments, based on the results of earlier ones."""

    def __init__(self, sweep: SweepConfig, space: Space, known: int) -> None:
        """Start a search that has proposed `known` assignments in earlier driver sessions.

        Raises:
            EnvironmentProblem: Optuna is not installed.
        """
        optuna = load_optuna()
        directions = ["minimize" if sweep.lower_is_better else "maximize"]
        if sweep.search.against:
            directions.append("maximize" if sweep.search.against in RISING else "minimize")
        sampler = optuna.samplers.TPESampler(
            seed=sweep.search.seed + known, n_startup_trials=sweep.search.startup,
            constant_liar=True,  # running trials count as poor ones
        )  # fmt: skip
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._space, self._turns, self._next = space, space.turns(), known
        self._left = (sweep.trials or 0) - known
        self._open: dict[str, list[Any]] = defaultdict(list)

    def ask(self) -> Assignment | None:
        """The most promising next assignment, None if there is none left."""
        if self._left <= 0:
            return None
        self._left -= 1
        turn = self._turns[self._next % len(self._turns)]
        self._next += 1
        if turn:  # grid values are cycled through, Optuna chooses the rest
            self._study.enqueue_trial({name: as_text(value) for name, value in turn.items()})
        trial = self._study.ask()
        chosen: Assignment = {}
        for dimension in self._space.dimensions:
            if dimension.exists(chosen):
                chosen[dimension.name] = _suggested(trial, dimension)
        self._open[_key(chosen)].append(trial)
        return chosen

    def tell(self, assignment: Assignment, values: tuple[float, ...] | None) -> None:
        """Learn from a result, of this driver session or an earlier one."""
        optuna = load_optuna()
        failed = optuna.trial.TrialState.FAIL
        mine = self._open.get(_key(assignment))
        if mine:
            self._study.tell(mine.pop(0), values, state=None if values else failed)
        elif values:
            self._study.add_trial(as_trial(self._space, assignment, list(values)))


def importances(
    space: Space, sweep: SweepConfig, trials: Sequence[Trial]
) -> list[tuple[str, float]]:
    """(setting, its importance for good results), the largest first; importances sum to 1.

    Empty if Optuna is not installed, or if the results do not differ. Source: Watanabe et al.,
    PED-ANOVA (2023), in Optuna's implementation.
    """
    try:
        optuna = load_optuna()
    except EnvironmentProblem:
        return []
    study = optuna.create_study(direction="minimize" if sweep.lower_is_better else "maximize")
    for trial in trials:
        if trial.outcome.value is not None:
            study.add_trial(as_trial(space, trial.assignment, [trial.outcome.value]))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        with warnings.catch_warnings():  # about few trials, which the report says itself
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (RuntimeError, ValueError):  # all trials have the same value
        return []
    return [(name, float(share)) for name, share in shares.items()]


def load_optuna() -> Any:
    """Import Optuna and silence its log.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise EnvironmentProblem(
            "search.algorithm=tpe needs Optuna, which is not installed: pip install optuna, or "
            "search at random"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def as_trial(space: Space, assignment: Assignment, values: list[float]) -> Any:
    """A finished trial as an Optuna trial."""
    optuna = load_optuna()
    dimensions = [d for d in space.dimensions if d.name in assignment]
    return optuna.trial.create_trial(
        params={d.name: _encoded(d, assignment[d.name]) for d in dimensions},
        distributions={d.name: _distribution(d) for d in dimensions},
        values=values,
    )


def _suggested(trial: Any, dimension: Dimension) -> Value:
    name = dimension.name
    if _is_listed(dimension):
        texts = [as_text(value) for value in dimension.values]
        return dimension.values[texts.index(trial.suggest_categorical(name, texts))]
    given: Any = _distribution(dimension)
    suggest = trial.suggest_int if dimension.kind == "integer" else trial.suggest_float
    value: Value = suggest(name, given.low, given.high, step=given.step, log=given.log)
    return value


def _distribution(dimension: Dimension) -> Any:
    made = load_optuna().distributions
    if _is_listed(dimension):
        return made.CategoricalDistribution([as_text(value) for value in dimension.values])
    high = dimension.values[-1] if dimension.values else dimension.high
    if dimension.kind == "integer":
        step = int(dimension.step or 1)
        return made.IntDistribution(int(dimension.low), high, step=step, log=dimension.is_log)
    return made.FloatDistribution(dimension.low, high, step=dimension.step, log=dimension.is_log)


def _is_listed(dimension: Dimension) -> bool:
    """Whether Optuna gets it as a list; it has no steps on a logarithmic range."""
    in_steps = dimension.kind == "integer" and (dimension.step or 1) != 1
    return dimension.kind in ("grid", "choice") or (dimension.is_log and in_steps)


def _encoded(dimension: Dimension, value: Value) -> Any:
    return as_text(value) if _is_listed(dimension) else value


def _key(assignment: Assignment) -> str:
    return repr(sorted(assignment.items()))
