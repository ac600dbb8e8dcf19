"""Checkpoints: format, writing, retention, and saving and loading across all workers."""
