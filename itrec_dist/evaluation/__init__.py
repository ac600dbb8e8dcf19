"""Evaluates checkpoints and baselines, and compares them."""
