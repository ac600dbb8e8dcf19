"""The library: what `import itrec_dist` offers, and what the commands are thin over.

    machine.py           doctor: what this machine has and lacks
    datasets.py          download and generate: data sets to try
    events.py            read: what is to be split
    shards.py            split and open: Data
    training.py          train
    run.py               load: Run, which evaluates, recommends and finds similar items
    evaluation.py        figures of a checkpoint; recommendations.py its recommendations
    baselines.py         baselines, sweeping.py: sweep, reporting.py: report
    reproducing.py       reproduce: a published study; schemas.py: schema, of recipes

`itrec_dist/__init__.py` imports each of them when its name is first used.
"""
