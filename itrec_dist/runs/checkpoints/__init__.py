"""Checkpoints: format, writing, retention, and saving across all workers."""
