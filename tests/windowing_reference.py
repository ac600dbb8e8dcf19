"""A slow windower in plain Python, written from the definitions and not from the SQL."""

import hashlib
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


def source_order(name: str) -> tuple[int, str]:
    return len(name), name


def lot(seed: int, name: object) -> str:
    return hashlib.md5(f"{seed}:{name}".encode()).hexdigest()


def deal(names: list, config: WindowConfig, key) -> dict:
    ranked = sorted(names, key=lambda n: (lot(config.seed, n), key(n)))
    num_validation = round(len(names) * config.validation_fraction)
    num_test = round(len(names) * config.test_fraction)
    splits = ["validation"] * num_validation + ["test"] * num_test
    splits += ["train"] * (len(names) - len(splits))
    return dict(zip(ranked, splits, strict=True))


def first_beyond(times: list[int], share: float) -> int:
    """The time of the first rating that `share` of all has no room for."""
    room = round(len(times) * share)
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


def split_of_target(config, history, first, user_splits, user, cuts):
    """The split whose range holds all targets from `first`, or None; '' if dealt later."""
    last = first + config.target_length - 1
    if config.protocol == "random_windows":
        return ""
    if config.protocol == "user_disjoint":
        return user_splits[user]
    places = range(len(history))
    if config.protocol == "leave_last":
        ends = {
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
    else:
        ends = {
            "train": [p for p in places if history[p].time < cuts[0]],
            "validation": [p for p in places if cuts[0] <= history[p].time < cuts[1]],
            "test": [p for p in places if history[p].time >= cuts[1]],
        }
    for split, inside in ends.items():
        if first in inside and last in inside:
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
    found = []
    for user in users:
        history = [event for event in histories[user] if event.item in set(items)]
        if len(history) < config.min_user_events:
            continue
        for first in range(config.input_length, len(history) - config.target_length + 1):
            split = split_of_target(config, history, first, user_splits, user, cuts)
            off = (first - config.input_length) % config.stride
            if split is None or (
                config.protocol in ("random_windows", "user_disjoint") and off != 0
            ):
                continue
            inputs = tuple(e.item for e in history[first - config.input_length : first])
            targets = tuple(e.item for e in history[first : first + config.target_length])
            found.append((user, inputs, targets, history[first].time, split))
    if config.protocol == "random_windows":
        dealt = deal(list(range(len(found))), config, lambda number: number)
        found = [(*w[:4], dealt[number]) for number, w in enumerate(found)]
    return Expected(items, found)
