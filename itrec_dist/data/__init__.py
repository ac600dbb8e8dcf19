"""From raw ratings to batches: sources, windowing, shards and feeds."""
