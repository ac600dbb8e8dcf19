"""The option that the verbs on a Ray cluster share."""

from itrec_dist.config import Parser


def add_address(options: Parser) -> None:
    """Add `--address`."""
    options.add_argument(
        "--address",
        type=str | None,
        default=None,
        help="Ray cluster to join, such as auto; default: start one on this machine.",
    )
