"""What the windowing of every task shares."""
