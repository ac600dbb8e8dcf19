"""Distributed training of sequential transformer recommenders, from raw ratings to a report."""

__version__ = "0.1.0"
