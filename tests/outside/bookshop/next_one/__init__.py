"""The one item that follows."""
