"""Searches over configurations: from a recipe to finalists judged on test.

    settings.py    what a recipe of `itrec sweep` holds, and the runs that follow
    space.py       the searched settings: names, types, ranges, conditions; grid and random draws
    checks.py      what is refused before anything starts
    plan.py        resources, packing, and the time that a measured step foretells
    proposals.py   which assignment comes next; tpe.py asks Optuna
    population.py  population-based training: who takes over from whom
    course.py      the order of jobs: trials, then finals
    tuner.py       Ray Tune: actors that stay; halving.py its successive halving, per combination
    trial.py       the runs of one trial, in one process; windows.py their figures window by window
    trackers/      MLflow and Weights & Biases, one file each
    directory.py   what a sweep leaves behind, and what a resumed one goes by
    front.py       the trials that no other beats in the metric and a cost at once
    comparison.py  intervals over seeds, and the paired test on the same windows
    search.py      a life of the driver: begins or resumes a sweep, and ends it

The sweep directory is the only memory: Tune and Optuna are filled from it in every life of the
driver. Trials are judged on validation alone (`evaluation.judge_test=false`: they never load the
test split); the best few are trained anew with fresh seeds, the winner among them is chosen by
the mean of *validation* over those seeds, and its test figure is the one that is reported.
"""

RECIPE = "sweep.yaml"
"""The file whose presence says that a folder is a sweep directory."""
