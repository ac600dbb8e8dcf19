"""What the published studies print, to stand beside our figures."""
