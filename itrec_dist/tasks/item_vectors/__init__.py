"""Item vectors: learn which items stand together."""
