"""Sources of ratings: public formats, your own tables, downloads, generated data."""
