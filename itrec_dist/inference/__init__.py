"""Using a trained model: loading, recommending, similar items."""
