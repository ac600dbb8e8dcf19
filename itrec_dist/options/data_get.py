"""The options of `itrec data get`."""

from pathlib import Path

from itrec_dist.config import Parser
from itrec_dist.data.sources import download
from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    made = Parser(
        "itrec data get",
        "Download a MovieLens release from GroupLens, check it and unpack it into DIR/NAME. "
        f"The environment variable {download.MIRROR_VARIABLE} names a mirror to use instead of "
        f"{download.PUBLISHER_URL}.",
    )
    releases = "; ".join(f"{s.name} ({s.holds})" for s in download.RELEASES.values())
    made.add_argument("name", type=str, help=f"The release: {releases}.")
    made.add_argument(
        "--to",
        type=Uri | Path,
        required=True,
        metavar="DIR",
        help="Folder on this machine in which NAME is created; `itrec window` reads it there.",
    )
    made.add_argument(
        "--overwrite",
        action="store_true",
        help="Replace DIR/NAME if it holds an earlier download.",
    )
    return made
