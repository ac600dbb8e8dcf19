"""The rating task: predict how a user rates an item."""
