"""Windowing: the parts shared by all tasks."""
