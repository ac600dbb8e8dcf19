"""The run directory: files, log, lease, checkpoints, remote copies."""
