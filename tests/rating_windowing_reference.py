"""A slow maker of rating windows in plain Python, written from the definitions."""

from dataclasses import dataclass

from itrec_dist.tasks.ratings.windows import RatingWindowConfig
from tests.windowing_reference import Event, cut_points, lot, rounded, source_order


@dataclass(frozen=True)
class Dealt:
    """A rating in its user's order, and the split that it is a target of."""

    event: Event
    place: int
    split: str


@dataclass(frozen=True)
class ExpectedRatings:
    """Item ids of the source by item_id; windows as (user, inputs with ratings, target, split)."""

    items: list[str]
    windows: list[tuple[str, tuple[tuple[str, float], ...], tuple[str, float, int], str]]
    audit: dict[str, dict[str, int]]


def expected_ratings(events: list[Event], config: RatingWindowConfig) -> ExpectedRatings:
    users = sorted({e.user for e in events}, key=source_order)
    histories = {
        user: sorted((e for e in events if e.user == user), key=lambda e: e.time) for user in users
    }
    splits = deal_ratings(events, users, histories, config)
    dealt = {
        user: [Dealt(e, place, splits[user, place]) for place, e in enumerate(histories[user])]
        for user in users
    }
    windows = []
    for user in users:
        before: list[tuple[str, float]] = []
        for each in dealt[user]:
            event = each.event
            target = (event.item, float(event.rating), event.time)
            windows.append((user, tuple(before[-config.input_length :]), target, each.split))
            if each.split == "train":
                before.append((event.item, float(event.rating)))
    counts = {e.item: 0 for e in events}
    for history in dealt.values():
        for each in history:
            counts[each.event.item] += each.split == "train"
    items = sorted(counts, key=lambda item: (-counts[item], *source_order(item)))
    present = {each.split for history in dealt.values() for each in history}
    audit = {
        split: audited_ratings(split, dealt, windows)
        for split in ("validation", "test")
        if split in present
    }
    return ExpectedRatings(items, windows, audit)


def deal_ratings(events, users, histories, config) -> dict[tuple[str, int], str]:
    places = [(user, place) for user in users for place in range(len(histories[user]))]
    if config.protocol == "random_ratings":
        keys = {user: key for key, user in enumerate(users)}
        ranked = sorted(
            places, key=lambda at: (lot(config.seed, f"{keys[at[0]]}:{at[1]}"), keys[at[0]], at[1])
        )
        num_validation = rounded(len(places) * config.validation_fraction)
        num_test = rounded(len(places) * config.test_fraction)
        names = ["validation"] * num_validation + ["test"] * num_test
        return dict(zip(ranked, names + ["train"] * (len(places) - len(names)), strict=True))
    if config.protocol == "last_ratings":
        found = {}
        for user, place in places:
            n = len(histories[user])
            test_from = n - rounded(n * config.test_fraction)
            validation_from = test_from - rounded(n * config.validation_fraction)
            found[user, place] = (
                "test" if place >= test_from
                else "validation" if place >= validation_from
                else "train"
            )  # fmt: skip
        return found
    cuts = cut_points(events, config)
    return {
        (user, place): ("train", "validation", "test")[
            sum(histories[user][place].time >= cut for cut in cuts)
        ]
        for user, place in places
    }


def audited_ratings(split, dealt, windows) -> dict[str, int]:
    """What the split lets through."""
    train = [each for history in dealt.values() for each in history if each.split == "train"]
    targets = [each for history in dealt.values() for each in history if each.split == split]
    first_time = min(each.event.time for each in targets)
    first_place = {}
    for each in targets:
        first_place.setdefault(each.event.user, each.place)
    pairs = {(each.event.user, each.event.item) for each in train}
    moments = {(each.event.user, each.event.time) for each in train}
    users, items = ({getattr(each.event, name) for each in train} for name in ("user", "item"))
    return {
        "inputs": sum(len(w[1]) for w in windows if w[3] in ("train", split)),
        "inputs_not_before": 0,
        "inputs_held_out": 0,
        "targets": len(targets),
        "targets_rated_in_training": sum(
            (each.event.user, each.event.item) in pairs for each in targets
        ),
        "targets_tied_with_training": sum(
            (each.event.user, each.event.time) in moments for each in targets
        ),
        "targets_of_unknown_users": sum(each.event.user not in users for each in targets),
        "targets_of_unknown_items": sum(each.event.item not in items for each in targets),
        "training_events": len(train),
        "training_events_not_before": sum(each.event.time >= first_time for each in train),
        "training_events_after_own": sum(
            each.place > first_place.get(each.event.user, len(train)) for each in train
        ),
        "num_users": len(first_place),
        "shared_users": len(users & set(first_place)),
    }
