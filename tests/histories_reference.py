"""A slow program for histories in plain Python, written from the definitions and not from SQL."""

from collections import Counter
from dataclasses import dataclass, replace

from itrec_dist.tasks.next_items.histories import HistoryConfig
from tests.windowing_reference import Event, cut_points, deal, source_order


@dataclass(frozen=True)
class Row:
    """One row of a split; events are those before the targets, but in training all of them."""

    user: str
    split: str
    num_context: int
    events: tuple[Event, ...]
    targets: tuple[Event, ...]
    seen: frozenset[str]


@dataclass(frozen=True)
class Expected:
    """Item source ids by item_id, how often training has each, and the rows in order."""

    items: list[str]
    num_events: list[int]
    rows: list[Row]


def without_repeats(history: list[Event], repeats: str) -> list[Event]:
    if repeats == "keep":
        return history
    order = history if repeats == "first" else history[::-1]
    kept, seen = [], set()
    for event in order:
        if event.item not in seen:
            seen.add(event.item)
            kept.append(event)
    return kept if repeats == "first" else kept[::-1]


def filtered(histories: dict[str, list[Event]], config: HistoryConfig) -> dict[str, list[Event]]:
    while True:
        before = histories
        counts = Counter(e.item for h in histories.values() for e in h)
        histories = {
            user: [e for e in h if counts[e.item] >= config.min_item_events]
            for user, h in histories.items()
        }
        histories = {u: h for u, h in histories.items() if len(h) >= config.min_user_events and h}
        if config.core == "single" or histories == before:
            return histories


def places(history, config, split_of_user, cuts) -> dict[str, tuple[int, int]]:
    """Split -> the places of its targets: in training up to where, else from and up to where."""
    n, k = len(history), config.target_length
    if config.protocol in ("leave_one_out", "leave_last"):
        if n <= 2 * k:
            return {"train": (0, n)}
        return {"train": (0, n - 2 * k), "validation": (n - 2 * k, n - k), "test": (n - k, n)}
    if config.protocol == "user_disjoint":
        if split_of_user == "train":
            return {"train": (0, n)}
        return {split_of_user: (n - k, n)} if n > k else {}
    found = {"train": (0, sum(e.time < cuts[0] for e in history))}
    for split, start, stop in (("validation", cuts[0], cuts[1]), ("test", cuts[1], None)):
        inside = [
            p
            for p, e in enumerate(history)
            if e.time >= start
            and (stop is None or e.time < stop)
            and (config.horizon is None or e.time < start + config.horizon)
        ][:k]
        if inside and inside[0] > 0:
            found[split] = (inside[0], inside[-1] + 1)
    return found


def chunks(end: int, config: HistoryConfig) -> list[tuple[int, int, int]]:
    """The first event, first target and end of each training row, oldest first."""
    found = []
    while end > 1:
        context = max(1, config.overlap)
        first = max(end - (config.max_length + 1 - context), 1)
        found.append((max(first - context, 0), first, end))
        end = first if first > 1 else 0
    return found[::-1]


def expected_histories(events: list[Event], config: HistoryConfig) -> Expected:
    """What `histories` should write; top_items is left out."""
    users = sorted({event.user for event in events}, key=source_order)
    histories = {u: sorted((e for e in events if e.user == u), key=lambda e: e.time) for u in users}
    histories = {u: without_repeats(h, config.repeats) for u, h in histories.items()}
    histories = filtered(histories, config)
    # A deal is of names; those that can be judged are dealt by themselves.
    long = [u for u, h in histories.items() if len(h) > (config.target_length or 0)]
    dealt = deal(long, replace(config), source_order) if config.protocol == "user_disjoint" else {}
    left = [e for h in histories.values() for e in h]
    cuts = cut_points(left, config) if config.protocol == "global_time" else None
    rows, training = [], Counter()
    for user, history in histories.items():
        held = places(history, config, dealt.get(user, "train"), cuts)
        if "train" in held:
            training.update(e.item for e in history[: held["train"][1]])
        for split, (first, end) in held.items():
            if split == "train":
                rows += [
                    Row(user, split, t - s, tuple(history[s:e]), tuple(history[t:e]), frozenset())
                    for s, t, e in chunks(end, config)
                ]
                continue
            start = max(first - config.max_length, 0)
            seen = frozenset(e.item for e in history[:first])
            targets = tuple(history[first:end])
            rows.append(Row(user, split, first - start, tuple(history[start:first]), targets, seen))
    names = {event.item for event in left}
    items = sorted(names, key=lambda item: (-training[item], *source_order(item)))
    return Expected(items, [training[item] for item in items], rows)
