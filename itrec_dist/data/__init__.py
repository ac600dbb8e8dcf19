"""From raw events to batches: sources, windowing, shards and feeds."""
