"""A model, a loss, a metric, a source and a task, one file or folder each."""
