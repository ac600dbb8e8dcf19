"""Where ratings come from: public formats, tables, downloads, generated data."""
