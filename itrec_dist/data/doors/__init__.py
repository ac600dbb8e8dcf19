"""Where a user's rows come from: files, patterns, Hive folders, URIs, databases and queries."""
