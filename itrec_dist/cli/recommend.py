"""`itrec recommend`: the top next items of users, here or on a cluster, or of one list of items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from itrec_dist.errors import ConfigError
from itrec_dist.options.recommend import parser

if TYPE_CHECKING:
    from itrec_dist.api.run import Run
    from itrec_dist.inference.recommend import Outcome

__all__ = ["parser", "run"]


def run(parsed: Any) -> int:
    """Rank, and write or print."""
    from itrec_dist.api.recommendations import requested
    from itrec_dist.api.run import Run

    # A namespace has a method `items`, so that option is read by its name.
    if parsed["items"] is None and parsed.out is None and not parsed.dry_run:
        raise ConfigError("--out is missing: give the Parquet file to write")
    run = Run(parsed.run, parsed.checkpoint)
    if parsed.workers is not None:
        return _run_on_workers(run, parsed)
    for option in ("address", "resume", "dry_run"):
        if parsed[option]:
            raise ConfigError(f"--{option} is about a batch on a cluster: give --workers too")
    made = requested(run, parsed)
    for note in made.notes:
        print(note)
    if parsed["items"] is not None:
        rows = made.table().to_pylist()
        for row in rows:
            print(f"{row['rank']:>4}  {row['score']:9.4f}  {row['item']:>8}  {row['title']}")
        if len(rows) < parsed.k:
            print(f"{len(rows)} of {parsed.k} items: the history has the others")
    if parsed.out is not None:
        outcome = made.write(parsed.out, overwrite=parsed.overwrite)
        if made.warning:
            print(f"warning: {made.warning}: users are served by their latest events there")
        print(f"recommendations for {_users(outcome)}{_besides(outcome, parsed.k)}: {parsed.out}")
    if made.skipped:
        print(made.skipped)
    return 0


def _run_on_workers(run: Run, parsed: Any) -> int:
    from itrec_dist.api.scoring import planned, scored

    if parsed.dry_run:
        planned(run, parsed, _say)
        return 0
    done = scored(run, parsed, say=_say)
    for note in done.notes:
        print(note)
    outcome = done.outcome
    rate = ""
    if done.users_per_second:
        rate = f", {done.users_per_second:,.0f} users/s of each worker"
    parts = f"{done.parts:,} part{'' if done.parts == 1 else 's'}"
    print(
        f"recommendations for {_users(outcome)}{_besides(outcome, parsed.k)} in {parts}{rate}: "
        f"{parsed.out}"
    )
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _users(outcome: Outcome) -> str:
    return f"{outcome.users:,} user{'' if outcome.users == 1 else 's'}"


def _besides(outcome: Outcome, k: int) -> str:
    """What is special about some of the users, in words."""
    said = []
    if outcome.popular:
        said.append(f"{outcome.popular:,} of whom no event is known got the most popular items")
    if outcome.short:
        said.append(
            f"{outcome.short:,} {'has' if outcome.short == 1 else 'have'} fewer events than the "
            "windows that the model was trained on, which it has not learned to serve"
        )
    if outcome.fewer:
        said.append(f"{outcome.fewer:,} got fewer than {k} items, or none, having seen the others")
    return f" ({'; '.join(said)})" if said else ""
