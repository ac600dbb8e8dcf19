"""Evaluating checkpoints and baselines, and comparing them."""
