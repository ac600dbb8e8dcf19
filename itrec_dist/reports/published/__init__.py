"""Results of published studies, for comparison."""
