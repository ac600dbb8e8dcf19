"""Where the results come from: data, leakage audit, configuration, environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from itrec_dist import config
from itrec_dist.data import schema
from itrec_dist.data.event_features import FIRST_VALUE
from itrec_dist.data.manifest import ANY_SPLIT, Manifest
from itrec_dist.reports import measures
from itrec_dist.reports.arms import Section
from itrec_dist.reports.runs import Run, number

_LEAKS: dict[str, tuple[str, str]] = {
    "inputs_not_before": ("inputs", "of the inputs were not rated before their target"),
    "inputs_held_out": ("inputs", "of the inputs are held-out ratings themselves"),
    "targets_rated_in_training": (
        "targets",
        "of the targets are items that their user rated in training as well",
    ),
    "targets_of_unknown_users": ("targets", "of the targets are of users without training ratings"),
    "targets_of_unknown_items": ("targets", "of the targets are items without training ratings"),
    "targets_in_training_inputs": (
        "targets",
        "of the targets were shown to the model as inputs of the same user's training windows",
    ),
    "targets_in_training_targets": (
        "targets",
        "of the targets are also targets of a training window: the answer was trained on",
    ),
    "targets_counted_in_catalogue": (
        "targets",
        "of the targets were counted when the catalogue and its popularity were computed",
    ),
    "targets_tied_with_training": (
        "targets",
        "of the targets have the same timestamp as a training event of the user: only the order "
        "of the file says which came first",
    ),
    "training_events_not_before": (
        "training_events",
        "of the training events are as late as the first target of any user: the model has seen "
        "the period it predicts",
    ),
    "training_events_after_own": (
        "training_events",
        "of the training events follow the same user's first target: the model has seen that "
        "user's future",
    ),
    "shared_events": ("training_events", "of the training events are in windows here as well"),
    "shared_users": (
        "num_users",
        "of the users evaluated here have training windows too: their taste is known",
    ),
}
"""Count of the audit -> its denominator, and the rest of the sentence "83% ..."."""

_DIRECT = ("targets_in_training_inputs", "targets_in_training_targets", "training_events_after_own")


@dataclass(frozen=True)
class Fact:
    """A name and its value, for printing."""

    name: str
    value: str


@dataclass(frozen=True)
class Leak:
    """One count of the audit of one split."""

    key: str
    name: str
    meaning: str
    """What is counted, as the rest of a sentence that starts with the share."""
    count: str
    whole: str
    """The denominator of the share."""
    share: float | None
    is_promised_zero: bool
    is_broken: bool

    @property
    def claim(self) -> str:
        """The meaning, without its consequence."""
        return self.meaning.partition(":")[0]

    @property
    def percent(self) -> str:
        """The share as printed; a small one is not rounded to zero."""
        if self.share is None:
            return ""
        return "<0.1%" if 0 < self.share < 0.001 else f"{self.share:.1%}"


@dataclass(frozen=True)
class Settings:
    """Configurations side by side: the settings that all runs of a kind share, and the others."""

    kind: str
    shared: str
    """As YAML."""
    differing: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """(run, its values of the differing settings)."""


def data(manifest: Manifest) -> list[Fact]:
    """Source, size and fingerprint of the data."""
    source = manifest.source
    facts = [Fact("Source", str(source.get("format", "unknown")))]
    if source.get("path"):
        facts.append(Fact("Read from", str(source["path"])))
    files = source.get("files")
    if isinstance(files, list) and files:
        facts.append(Fact("Files", "; ".join(_file(f) for f in files if isinstance(f, dict))))
    windows = " + ".join(
        f"{manifest.num_windows(split):,} {split}"
        for split in schema.SPLITS
        if split in manifest.splits
    )
    facts += [
        Fact("Protocol", manifest.protocol),
        Fact(manifest.samples.capitalize(), windows),
        _sample(manifest),
        Fact("Catalogue", f"{manifest.num_items:,} items, counted on {manifest.catalogue_from}"),
        Fact("Users", f"{manifest.num_users:,}"),
    ]
    facts += _coverage(manifest)
    for kind, features in (("User", manifest.user_features), ("Item", manifest.item_features)):
        words = ", ".join(f"{f.name} ({len(f.values)})" for f in features)
        facts.append(Fact(f"{kind} features", words or "none"))
    if manifest.event_features:
        words = ", ".join(
            f"{f.name} ({f.num_codes - FIRST_VALUE})" for f in manifest.event_features
        )
        facts.append(Fact("Event features", words))
    if manifest.settings:
        words = ", ".join(f"{name} {_count(value)}" for name, value in manifest.settings.items())
        facts.append(Fact("Settings", words))
    facts.append(Fact("Fingerprint", manifest.fingerprint))
    return facts


def steps(manifest: Manifest) -> tuple[list[str], list[list[str]]]:
    """The filters in order, with what is left after each: column titles and rows."""
    columns: list[str] = []
    for step in manifest.steps:
        columns += [
            key
            for key in step
            if key != "name" and key not in columns and not key.endswith("_share")
        ]
    read = manifest.steps[0] if manifest.steps else {}
    rows = [
        [str(step.get("name", "")), *(_left(step.get(c), read.get(c)) for c in columns)]
        for step in manifest.steps
    ]
    return ["step", *(_column(name, manifest) for name in columns)], rows


def _column(name: str, manifest: Manifest) -> str:
    """A column of the steps in words: ratings_share becomes "share of ratings"."""
    what = name.removesuffix("_share")
    words = "events" if what == "ratings" and not manifest.has_ratings else what
    return f"share of {words}" if name != what else words


def _left(value: Any, read: Any) -> str:
    """A count, and its share of what was read where that is less than all."""
    count, whole = number(value), number(read)
    if count is None or not whole or count >= whole:
        return _count(value)
    return f"{_count(value)} ({count / whole:.1%})"


def sentences(section: Section) -> list[str]:
    """What filters dropped, and what leaks."""
    return [*_dropped(section.manifest), *audit_sentences(section)]


def _dropped(manifest: Manifest | None) -> list[str]:
    """The shares of the events and users read that windowing's filters dropped."""
    if manifest is None or len(manifest.steps) < 2:
        return []
    read, left = manifest.steps[0], manifest.steps[-1]
    shares = [
        f"{1 - after / before:.1%} of the {what} read"
        for what in ("ratings", "users", "items")
        if (before := number(read.get(what))) and (after := number(left.get(what))) is not None
        and after < before
    ]  # fmt: skip
    return [f"Windowing dropped {measures.enumeration(shares)}."] if shares else []


def leaks(manifest: Manifest) -> list[tuple[str, list[Leak]]]:
    """The audit by split: counts, each with its share."""
    by_split = []
    for split in (*schema.SPLITS, *sorted(set(manifest.audit) - set(schema.SPLITS))):
        counts = manifest.audit.get(split)
        if not isinstance(counts, Mapping):
            continue
        wholes = {whole for whole, _ in _LEAKS.values()}
        names = [n for n in counts if n not in wholes and not n.endswith("_share")]
        entries = [_leak(name, counts) for name in names if number(counts[name]) is not None]
        if entries:
            by_split.append((split, entries))
    return by_split


def audit_rows(manifest: Manifest) -> tuple[list[str], list[tuple[Leak, list[Leak | None]]]]:
    """The audit as a table: the splits, and per count its entry in each of them."""
    by_split = {split: {e.key: e for e in entries} for split, entries in leaks(manifest)}
    firsts: dict[str, Leak] = {}
    for entries in by_split.values():
        for key, leak in entries.items():
            firsts.setdefault(key, leak)
    rows = [(leak, [by_split[s].get(key) for s in by_split]) for key, leak in firsts.items()]
    return list(by_split), rows


def audit_sentences(section: Section) -> list[str]:
    """What leaks into the section's final split, or that nothing does that must not."""
    if section.manifest is None:
        return []
    split, protocol = section.final_split, section.protocol
    entries = dict(leaks(section.manifest)).get(split, [])
    broken = [leak.name for leak in entries if leak.is_broken]
    if broken:
        return [f"{protocol} breaks its promise on {split}: {measures.enumeration(broken)}."]
    direct = [leak for leak in entries if leak.key in _DIRECT and leak.share]
    if direct:
        return [
            f"On {split}, "
            + measures.enumeration([f"{leak.percent} {leak.claim}" for leak in direct])
            + "."
        ]
    kept = [leak.name for leak in entries if leak.is_promised_zero]
    if kept:
        return [f"On {split}, nothing leaks that {protocol} promises to keep separate."]
    return []


def settings(runs: Sequence[Run]) -> list[Settings]:
    """Shared and differing settings of trained runs and of baselines."""
    return [
        _side_by_side(kind, [run for run in runs if run.kind == kind])
        for kind in ("train", "baseline")
        if any(run.kind == kind for run in runs)
    ]


def environment(runs: Sequence[Run]) -> tuple[list[Fact], Settings | None]:
    """What all recorded environments have in common, and where they differ."""
    flat = [(run, config.flat(run.environment)) for run in runs if run.environment]
    facts, differing = divided_environment([run.environment for run, _ in flat])
    if not differing:
        return facts, None
    return facts, Settings("Environment", "", differing, _rows(flat, differing))


def divided_environment(
    environments: Sequence[dict[str, Any]],
) -> tuple[list[Fact], tuple[str, ...]]:
    """What recorded environments have in common, and the names of the differing entries."""
    flat = [config.flat(environment) for environment in environments]
    if not flat:
        return [], ()
    shared, differing = _divided(flat)
    return [Fact(name, plain(flat[0][name])) for name in shared], differing


def run_label(run: Run) -> str:
    """The names of the run's folder and its parent."""
    return "/".join(run.path.parts[-2:])


def plain(value: Any) -> str:
    """A JSON value for printing; None and non-finite floats become a dash."""
    if value is None:
        return measures.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return measures.MISSING if number(value) is None else f"{value:g}"
    if isinstance(value, (list, tuple)):
        return " ".join(str(v) for v in value) or "none"
    return str(value)


def _file(content: Mapping[str, Any]) -> str:
    checksum = str(content.get("sha256", ""))[:12]
    return f"{content.get('name', '')} (SHA-256 {checksum}…)" if checksum else str(content)


def _count(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole else plain(value)


def _sample(manifest: Manifest) -> Fact:
    """The lengths of a window or of a history."""
    targets = f"{manifest.target_length} target{'s' if manifest.target_length > 1 else ''}"
    if manifest.samples == "histories":
        return Fact("History", f"up to {manifest.max_length} events, up to {targets}")
    return Fact("Window", f"{manifest.input_length} inputs, {manifest.target_length} targets")


def _coverage(manifest: Manifest) -> list[Fact]:
    """Users and events without a window; empty for old shards, which did not count them."""
    if not manifest.coverage:
        return []
    users, events = [], []
    for row in manifest.coverage:
        name = "all splits" if row.split == ANY_SPLIT else row.split
        users.append(f"{row.num_users_without:,} of {row.num_users:,} ({name})")
        events.append(f"{row.num_events_without:,} of {row.num_events:,} ({name})")
    return [
        Fact("Users without a window", ", ".join(users)),
        Fact("Events without a window", ", ".join(events)),
    ]


def _leak(name: str, counts: Mapping[str, Any]) -> Leak:
    count = number(counts[name])
    assert count is not None
    whole_name, meaning = _LEAKS.get(name, ("", ""))
    whole, share = number(counts.get(whole_name)), number(counts.get(f"{name}_share"))
    if share is None and whole:
        share = count / whole
    promises = counts.get("promised_zero")
    is_promised = isinstance(promises, list) and name in promises
    return Leak(
        key=name,
        name=name.replace("_", " "),
        meaning=meaning,
        count=f"{count:,.0f}",
        whole="" if whole is None else f"{whole:,.0f}",
        share=share,
        is_promised_zero=is_promised,
        is_broken=is_promised and count > 0,
    )


def _side_by_side(kind: str, runs: list[Run]) -> Settings:
    title = "Trained runs" if kind == "train" else "Baselines"
    if len(runs) == 1:
        return Settings(title, runs[0].config_yaml.strip(), (), ())
    flat = [(run, config.flat(run.config)) for run in runs]
    shared, differing = _divided([leaves for _, leaves in flat])
    yaml_text = _as_yaml({name: flat[0][1][name] for name in shared})
    return Settings(title, yaml_text, differing, _rows(flat, differing))


def _divided(every: Sequence[dict[str, Any]]) -> tuple[list[str], tuple[str, ...]]:
    """Names whose value is the same in all, and the others, in order of appearance."""
    names = dict.fromkeys(name for leaves in every for name in leaves)
    absent = object()
    shared = [n for n in names if all(v.get(n, absent) == every[0].get(n) for v in every)]
    return shared, tuple(n for n in names if n not in shared)


def _rows(
    flat: Sequence[tuple[Run, dict[str, Any]]], names: Sequence[str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (run_label(run), tuple(plain(leaves[n]) if n in leaves else "" for n in names))
        for run, leaves in flat
    )


def _as_yaml(leaves: dict[str, Any]) -> str:
    tree = config.nested(leaves)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).strip() if tree else ""
