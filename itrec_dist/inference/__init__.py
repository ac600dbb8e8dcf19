"""Inference with trained models: loading, recommendations, similar items."""
