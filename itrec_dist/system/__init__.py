"""The machine: limits, versions, checks."""
