"""The engines: one file each, behind the protocol of `engine.py`."""
