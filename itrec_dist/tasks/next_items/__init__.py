"""The next-items task: recommend the items that follow a window."""
