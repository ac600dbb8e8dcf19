"""The `itrec` command: one module per subcommand."""
