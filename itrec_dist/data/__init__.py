"""Ratings to samples: sources, windowing, shards and feeds."""
