"""Who the workers are and how they talk: contexts and torchrun."""
