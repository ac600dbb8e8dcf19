"""The models: one file each, with its configuration and its module."""
