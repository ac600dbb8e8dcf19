"""One module per verb of the `itrec` command."""
