"""What checkpoints cost and what they save: the time training stands still, and that of a resume.

Stand-still: milliseconds that a step with a checkpoint takes beyond a step without one, on worker
0 of a local run, for the recipe's model and for one of some hundred MB. Resume: a run on one Ray
worker whose process is killed; seconds from the kill to the first step that is new, and what of
them is Ray's own start-up.
"""
