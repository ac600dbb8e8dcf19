"""`itrec recommend`: the top next items of users, or of one list of items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from itrec_dist.cli import evaluate as evaluate_command
from itrec_dist.config import Parser
from itrec_dist.data.schema import Seen
from itrec_dist.errors import ConfigError

if TYPE_CHECKING:
    from itrec_dist.inference.load import Restored
    from itrec_dist.inference.recommend import Outcome, Request
    from itrec_dist.inference.served import Served
    from itrec_dist.storage.uri import Uri


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "itrec recommend",
        "Recommend the top k next items, predicted from the latest events and without items seen "
        "before: for every user of the shards, for the users of --histories, or for one list of "
        "--items. Written to Parquet: user, rank, item, title, score.",
    )
    evaluate_command.add_model(options)
    options.add_argument(
        "--histories",
        type=Path | None,
        default=None,
        help="Parquet or CSV file with the whole histories of users to serve, known or new, in the "
        "columns that windowing was given (by default user, item, timestamp and rating); null "
        "serves the users of the shards.",
    )
    options.add_argument(
        "--items",
        type=str | None,
        default=None,
        help="One history, as item ids separated by commas, oldest first, such as 260,1196; the "
        "recommendations are printed.",
    )
    lists = "ids separated by commas, or a .txt, Parquet or CSV file of them"
    options.add_argument(
        "--among", type=str | None, default=None, help=f"The only items to recommend: {lists}."
    )
    options.add_argument(
        "--without", type=str | None, default=None, help=f"Items not to recommend: {lists}."
    )
    options.add_argument(
        "--seen",
        type=Seen | None,
        default=None,
        help="What is not recommended again: history, input (what the model is shown) or none; "
        "null does as the run's evaluation.seen, or leaves out the history.",
    )
    options.add_argument(
        "--out",
        type=Path | None,
        default=None,
        help="Parquet file to write; required unless --items is given.",
    )
    options.add_argument("-k", "--k", type=int, default=5, help="Items per user.")
    options.add_argument("--overwrite", action="store_true", help="Replace the file if it exists.")
    return options


def run(parsed: Any) -> int:
    """Rank, and write or print."""
    from itrec_dist.inference.recommend import recommend, table_of

    # A namespace has a method `items`, so that option is read by its name.
    if parsed["items"] is not None and parsed.histories is not None:
        raise ConfigError("--items and --histories are both histories to serve: give one of them")
    if parsed["items"] is None and parsed.out is None:
        raise ConfigError("--out is missing: give the Parquet file to write")
    restored, place = evaluate_command.restored_from(parsed)
    request = _request(restored, parsed)
    served, warning = _served(restored, place, parsed)
    if parsed["items"] is not None:
        for row in table_of(restored, served, request).to_pylist():
            print(f"{row['rank']:>4}  {row['score']:9.4f}  {row['item']:>8}  {row['title']}")
    if parsed.out is not None:
        outcome = recommend(restored, served, request, parsed.out, overwrite=parsed.overwrite)
        if warning:
            print(f"{warning}: users are served by their latest events there")
        print(f"recommendations for {outcome.users:,} users{_besides(outcome)}: {parsed.out}")
    if served.unknown_events:
        events, items = (
            f"{count:,} {noun}{'' if count == 1 else 's'}"
            for count, noun in ((served.unknown_events, "event"), (served.unknown_items, "item"))
        )
        print(f"skipped {events} of {items} unknown to the model")
    return 0


def _request(restored: Restored, parsed: Any) -> Request:
    """Read the lists of items."""
    from itrec_dist.data.new_events import read_item_list
    from itrec_dist.inference.recommend import Request

    among, without = (
        None if given is None else read_item_list(given, restored.manifest)
        for given in (parsed.among, parsed.without)
    )
    for name, listed in (("among", among), ("without", without)):
        if unknown := set(listed or ()) - set(restored.items.source_ids):
            print(f"--{name}: {len(unknown):,} of {len(set(listed or ())):,} items are unknown")
    return Request(parsed.k, parsed.seen, among, without or ())


def _served(restored: Restored, place: Uri | Path, parsed: Any) -> tuple[Served, str | None]:
    """Whom to serve, and a warning if the shards are not those of the training."""
    from itrec_dist.data.new_events import read_item_list
    from itrec_dist.data.shards import fetch
    from itrec_dist.inference import fitting, served

    if parsed["items"] is not None:
        return served.from_items(restored, read_item_list(parsed["items"], restored.manifest)), None
    if parsed.histories is not None:
        return served.from_events(restored, parsed.histories, place), None
    shards = fetch.local(place)
    return served.from_shards(restored, shards), fitting.warning(restored, shards, place)


def _besides(outcome: Outcome) -> str:
    """What is special about some of the users, in words."""
    said = []
    if outcome.popular:
        said.append(f"{outcome.popular:,} of whom no event is known got the most popular items")
    if outcome.short:
        said.append(
            f"{outcome.short:,} {'has' if outcome.short == 1 else 'have'} fewer events than the "
            "windows that the model was trained on, which it has not learned to serve"
        )
    return f" ({'; '.join(said)})" if said else ""
