"""Workers and their communication: contexts and torchrun."""
