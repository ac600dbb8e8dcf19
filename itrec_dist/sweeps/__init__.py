"""Hyperparameter search: from a sweep recipe to finalists evaluated on test.

    config.py      the settings of a sweep, and the run configurations that follow from them
    space.py       the search space: names, types, ranges, conditions; grid and random draws
    checks.py      all checks before anything starts
    resources.py   resources per trial, and how many trials fit at once
    estimate.py    model size and run time, from a few measured steps
    sampling.py    which assignment comes next; tpe.py asks Optuna
    population.py  population-based training
    jobs.py        the order of jobs: trials, then finals
    ray_tune.py    runs jobs on Ray Tune's reused actors
    asha.py        Tune's successive halving, per combination of grid values
    trial.py       the runs of one trial, in one process
    directory.py   the sweep directory, from which a sweep is resumed
    remote.py      the sweep directory at a URI
    pareto.py      the Pareto front of the metric and a cost
    driver.py      starts or resumes a sweep, and runs it to its end

The sweep directory is the only state: each time the driver starts, Tune and Optuna are filled from
it. Trials are evaluated on validation only (`evaluation.judge_test=false`: they never load the test
split). The best few are retrained with fresh seeds, the winner among them is chosen by the mean of
*validation* over those seeds, and its test metric is the one reported.
"""

RECIPE = "sweep.yaml"
"""The file whose presence marks a folder as a sweep directory."""
