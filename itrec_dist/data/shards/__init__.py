"""The files of a shards folder: columns, writer, reader."""
