"""Files and folders, local and remote, written atomically."""
