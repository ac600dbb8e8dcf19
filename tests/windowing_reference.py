"""A slow windower in plain Python, written from the definitions and not from the SQL."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

from itrec_dist.tasks.next_items.windows import WindowConfig


@dataclass(frozen=True)
class Event:
    user: str
    item: str
    time: int
    rating: float


@dataclass(frozen=True)
class Expected:
    """Item source ids by item_id, and windows as (user, inputs, targets, first time, split)."""

    items: list[str]
    windows: list[tuple[str, tuple[str, ...], tuple[str, ...], int, str]]
    audit: dict[str, dict[str, int]]
    """Evaluation split -> the counts of its leakage audit."""


@dataclass(frozen=True)
class Placed:
    """A window by the place of its first target in the user's history of kept items."""

    user: str
    first: int
    split: str


def rounded(number: float) -> int:
    """Halves go up, as in SQL."""
    return math.floor(number + 0.5)


def source_order(name: str) -> tuple[int, str]:
    return len(name), name


def lot(seed: int, name: object) -> str:
    return hashlib.md5(f"{seed}:{name}".encode()).hexdigest()


def deal(names: list, config: WindowConfig, key) -> dict:
    ranked = sorted(names, key=lambda n: (lot(config.seed, n), key(n)))
    num_validation = rounded(len(names) * config.validation_fraction)
    num_test = rounded(len(names) * config.test_fraction)
    splits = ["validation"] * num_validation + ["test"] * num_test
    splits += ["train"] * (len(names) - len(splits))
    return dict(zip(ranked, splits, strict=True))


def first_beyond(times: list[int], share: float) -> int:
    """The time of the first rating that `share` of all has no room for."""
    room = rounded(len(times) * share)
    return sorted(times)[room] if room < len(times) else max(times) + 1


def catalogue(counted: list[Event], config: WindowConfig) -> list[str]:
    counts = Counter(event.item for event in counted)
    ranked = sorted(counts, key=lambda item: (-counts[item], *source_order(item)))
    return ranked[: config.top_items]


def cut_points(events: list[Event], config: WindowConfig) -> tuple[int, int]:
    times = [event.time for event in events]
    train = 1 - config.validation_fraction - config.test_fraction
    return first_beyond(times, train), first_beyond(times, 1 - config.test_fraction)


def counted_events(events, histories, config, user_splits, cuts):
    if config.protocol == "random_windows":
        return events
    if config.protocol == "user_disjoint":
        return [event for event in events if user_splits[event.user] == "train"]
    if config.protocol == "global_time":
        return [event for event in events if event.time < cuts[0]]
    held_from = {user: len(history) for user, history in histories.items()}
    while True:
        counted = [e for user, h in histories.items() for e in h[: held_from[user]]]
        kept = set(catalogue(counted, config))
        moved = False
        for user, history in histories.items():
            places = [i for i, event in enumerate(history) if event.item in kept]
            last = places[-2 * config.target_length :]
            if last and last[0] < held_from[user]:
                held_from[user], moved = last[0], True
        if not moved:
            return counted


def ranges_of(config, history, user_splits, user, cuts) -> dict[str, list[int]]:
    """The places that each split may have targets at; '' if dealt later."""
    places = range(len(history))
    if config.protocol == "random_windows":
        return {"": list(places)}
    if config.protocol == "user_disjoint":
        return {user_splits[user]: list(places)}
    if config.protocol == "leave_last":
        return {
            "train": [p for p in places if p < len(history) - 2 * config.target_length],
            "validation": [
                p
                for p in places
                if len(history) - 2 * config.target_length
                <= p
                < len(history) - config.target_length
            ],
            "test": [p for p in places if p >= len(history) - config.target_length],
        }
    return {
        "train": [p for p in places if history[p].time < cuts[0]],
        "validation": [p for p in places if cuts[0] <= history[p].time < cuts[1]],
        "test": [p for p in places if history[p].time >= cuts[1]],
    }


def split_of_target(config, ranges, first):
    """The split that has a window with its targets from `first` on, or None."""
    last = first + config.target_length - 1
    for split, inside in ranges.items():
        if first not in inside or last not in inside:
            continue
        if first < config.input_length:
            begins = first == max(min(inside), 1)
            return split if config.short_histories and (split in ("", "train") or begins) else None
        start = max(min(inside), config.input_length)
        return split if (first - start) % config.stride == 0 else None
    return None


def expected(events: list[Event], config: WindowConfig) -> Expected:
    users = sorted({event.user for event in events}, key=source_order)
    by_user = {user: [e for e in events if e.user == user] for user in users}
    histories = {u: sorted(h, key=lambda e: e.time) for u, h in by_user.items()}  # stable
    user_splits = deal(users, config, source_order)
    cuts = cut_points(events, config)
    counted = counted_events(events, histories, config, user_splits, cuts)
    items = catalogue(counted, config)
    kept = {u: [e for e in h if e.item in set(items)] for u, h in histories.items()}
    kept = {user: h for user, h in kept.items() if len(h) >= config.min_user_events}
    placed = []
    for user, history in kept.items():
        ranges = ranges_of(config, history, user_splits, user, cuts)
        for first in range(1, len(history) - config.target_length + 1):
            split = split_of_target(config, ranges, first)
            if split is not None:
                placed.append(Placed(user, first, split))
    if config.protocol == "random_windows":
        dealt = deal(list(range(len(placed))), config, lambda number: number)
        placed = [Placed(w.user, w.first, dealt[number]) for number, w in enumerate(placed)]
    found = []
    for window in placed:
        history = kept[window.user]
        shown = history[max(window.first - config.input_length, 0) : window.first]
        padding = ("",) * (config.input_length - len(shown))
        inputs = (*padding, *(e.item for e in shown))
        targets = tuple(e.item for e in history[window.first : window.first + config.target_length])
        found.append((window.user, inputs, targets, history[window.first].time, window.split))
    audit = {
        split: audited(split, placed, kept, set(counted), config)
        for split in ("validation", "test")
        if any(window.split == split for window in placed)
    }
    return Expected(items, found, audit)


def used(placed, splits, config):
    """The (user, place) that windows of the splits use, as inputs and as targets."""
    inputs, targets = set(), set()
    for window in placed:
        if window.split in splits:
            places = range(max(window.first - config.input_length, 0), window.first)
            inputs |= {(window.user, place) for place in places}
            places = range(window.first, window.first + config.target_length)
            targets |= {(window.user, place) for place in places}
    return inputs, targets


def audited(split, placed, kept, counted, config) -> dict[str, int]:
    """What the split lets through, event by event."""
    inputs, targets = used(placed, ("train",), config)
    own_inputs, own_targets = used(placed, (split,), config)
    training = inputs | targets
    event = {(user, place): e for user, h in kept.items() for place, e in enumerate(h)}
    first_time = min(event[at].time for at in own_targets)
    first_place: dict[str, int] = {}
    for user, place in own_targets:
        first_place[user] = min(place, first_place.get(user, place))
    moments = {(user, event[user, place].time) for user, place in training}
    teaching = {user for user, _ in training}
    return {
        "targets": len(own_targets),
        "targets_in_training_inputs": len(own_targets & inputs),
        "targets_in_training_targets": len(own_targets & targets),
        "targets_counted_in_catalogue": sum(event[at] in counted for at in own_targets),
        "targets_tied_with_training": sum((at[0], event[at].time) in moments for at in own_targets),
        "training_events": len(training),
        "training_events_not_before": sum(event[at].time >= first_time for at in training),
        "training_events_after_own": sum(
            place >= first_place.get(user, math.inf) for user, place in training
        ),
        "shared_events": len(training & (own_inputs | own_targets)),
        "num_users": len(first_place),
        "shared_users": len(teaching & set(first_place)),
    }
