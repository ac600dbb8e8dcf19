"""Sampled users: their input items, actual next items and predictions (figure 4 of the ITE paper).

`samples.json` of a run is

    {"split": "test",
     "users": [{"user": source id,
                "watched":   [{"title", "year" | null, "genres": [...], "rating": 4.0 | null}],
                "actual":    [{"title", "year" | null, "genres": [...]}],
                "predicted": [{"title", "year" | null, "genres": [...], "score": 1.7,
                               "is_hit": true, "is_seen": false}]}]}

with `watched` oldest first, `actual` in order, `predicted` best first. `is_hit`: it is among the
actual next items; `is_seen`: it is among the input items.
"""

from dataclasses import dataclass
from typing import Any

from itrec_dist.reports import measures
from itrec_dist.reports.arms import Arm, Section
from itrec_dist.reports.runs import number


@dataclass(frozen=True)
class Item:
    """One item in a list, ready to print."""

    title: str
    year: str
    genres: str
    mark: str
    """The rating of an input item, the score of a predicted one."""
    is_hit: bool
    is_seen: bool


@dataclass(frozen=True)
class User:
    """One sampled user."""

    user: str
    watched: tuple[Item, ...]
    actual: tuple[Item, ...]
    predicted: tuple[Item, ...]

    @property
    def hits(self) -> int:
        """The number of correct predictions."""
        return sum(item.is_hit for item in self.predicted)


@dataclass(frozen=True)
class Sample:
    """The sampled users of one arm, from its first run that has any."""

    label: str
    split: str
    users: tuple[User, ...]


def of(section: Section) -> list[Sample]:
    """The samples of each arm that has any, best arm first."""
    samples = (_sample(arm) for arm in section.ranked)
    return [sample for sample in samples if sample is not None]


def _sample(arm: Arm) -> Sample | None:
    samples = next((run.samples for run in arm.runs if run.samples), None)
    if samples is None:
        return None
    users = tuple(_user(user) for user in samples["users"])
    return Sample(arm.label, str(samples.get("split", "")), users)


def _user(content: dict[str, Any]) -> User:
    predicted = tuple(_item(item, "score") for item in content["predicted"])
    hits = {(item.title, item.year) for item in predicted if item.is_hit}
    actual = tuple(_item(item, "", hits) for item in content["actual"])
    watched = tuple(_item(item, "rating") for item in content["watched"])
    return User(str(content.get("user", "")), watched, actual, predicted)


def _item(content: dict[str, Any], mark: str, hits: set[tuple[str, str]] | None = None) -> Item:
    year = content.get("year")
    genres = content.get("genres") or []
    value = number(content.get(mark))
    text = "" if value is None else f"{value:g}" if mark == "rating" else measures.digits(value)
    years = "" if number(year) is None else f"{year:.0f}"
    title = str(content.get("title") or "untitled")
    title = title.removesuffix(f"({years})").rstrip() or title  # MovieLens titles end in it
    hit = content.get("is_hit") is True if hits is None else (title, years) in hits
    return Item(
        title=title,
        year=years,
        genres=", ".join(str(g) for g in genres) if isinstance(genres, list) else str(genres),
        mark=text,
        is_hit=hit,
        is_seen=content.get("is_seen") is True,
    )
