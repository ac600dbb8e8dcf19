"""Files and folders, local and remote: whole or not at all."""
