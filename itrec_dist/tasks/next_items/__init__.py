"""Next items: recommend what follows a window."""
