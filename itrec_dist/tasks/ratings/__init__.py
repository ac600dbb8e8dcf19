"""Ratings: predict how a user rates an item."""
