"""Training runs: configuration, setup, the training loop, resuming."""
