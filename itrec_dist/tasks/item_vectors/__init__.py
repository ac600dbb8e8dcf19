"""The item-vectors task: vectors of items that co-occur in windows."""
