"""Where the figures come from: data, what its split lets through, configuration, environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from itrec_dist import schema
from itrec_dist.manifest import Manifest
from itrec_dist.report import measures
from itrec_dist.report.arms import Section, flatten
from itrec_dist.report.runs import Run, number

_MEANINGS = {
    "targets_in_train_inputs": "targets that stand among the same user's training inputs: the "
    "model has seen this very user take this very item",
    "targets_in_train_targets": "targets that are also training targets of the same user: the "
    "answer was trained on",
    "train_after_evaluation": "training rows later than the evaluation: the model has seen the "
    "future of what it is asked",
    "shared_users": "users with windows both here and in training: their taste is known",
    "ties_across_cut": "events with the same timestamp on both sides of the cut: which came first "
    "is the file's word alone",
}


@dataclass(frozen=True)
class Fact:
    """A name and what it is."""

    name: str
    value: str


@dataclass(frozen=True)
class Leak:
    """One count of the audit."""

    name: str
    meaning: str
    count: str
    share: str
    share_value: float | None
    promise: str
    """What the protocol promises, such as "held to 0"; empty if it promises nothing."""
    is_broken: bool


@dataclass(frozen=True)
class Settings:
    """Configurations side by side: what all runs of a kind share, and where they differ."""

    kind: str
    shared: str
    """As YAML."""
    differing: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """(run, its values of the differing settings)."""


def data(manifest: Manifest) -> list[Fact]:
    """Source, shape and identity of the data."""
    source = manifest.source
    facts = [Fact("Source", str(source.get("format", "unknown")))]
    if source.get("path"):
        facts.append(Fact("Read from", str(source["path"])))
    windows = " + ".join(
        f"{manifest.num_windows(split):,} {split}"
        for split in schema.SPLITS
        if split in manifest.splits
    )
    facts += [
        Fact("Protocol", manifest.protocol),
        Fact("Windows", windows),
        Fact("Window", f"{manifest.input_length} inputs, {manifest.target_length} targets"),
        Fact("Catalogue", f"{manifest.num_items:,} items, counted on {manifest.catalogue_from}"),
        Fact("Users", f"{manifest.num_users:,}"),
    ]
    for kind, features in (("User", manifest.user_features), ("Item", manifest.item_features)):
        words = ", ".join(f"{f.name} ({len(f.values)})" for f in features)
        facts.append(Fact(f"{kind} features", words or "none"))
    facts.append(Fact("Fingerprint", manifest.fingerprint))
    return facts


def steps(manifest: Manifest) -> tuple[list[str], list[list[str]]]:
    """The filters in order, with what each left: column titles and rows."""
    columns: list[str] = []
    for step in manifest.steps:
        columns += [key for key in step if key != "name" and key not in columns]
    rows = [
        [str(step.get("name", "")), *(_count(step.get(column)) for column in columns)]
        for step in manifest.steps
    ]
    return ["step", *columns], rows


def leaks(manifest: Manifest) -> list[tuple[str, list[Leak]]]:
    """Per split, every count of the audit; parts that are neither count nor split are left out."""
    found: dict[str, list[Leak]] = {}
    for key, content in manifest.audit.items():
        if isinstance(content, Mapping) and not _is_entry(content):
            entries = [_leak(str(name), entry) for name, entry in content.items()]
            found.setdefault(str(key), []).extend(e for e in entries if e is not None)
        elif (leak := _leak(str(key), content)) is not None:
            found.setdefault("all splits", []).append(leak)
    order = [*schema.SPLITS, *found]
    return [(s, found[s]) for s in sorted(found, key=order.index) if found[s]]


def settings(runs: Sequence[Run]) -> list[Settings]:
    """Shared and differing settings of trained runs and of baselines."""
    return [
        _side_by_side(kind, [run for run in runs if run.kind == kind])
        for kind in ("train", "baseline")
        if any(run.kind == kind for run in runs)
    ]


def environment(runs: Sequence[Run]) -> tuple[list[Fact], list[tuple[str, list[Fact]]]]:
    """What all runs' environments share, and per run what differs."""
    flat = [(run, flatten(run.environment)) for run in runs if run.environment]
    if not flat:
        return [], []
    names = list(dict.fromkeys(name for _, leaves in flat for name in leaves))
    first = flat[0][1]
    shared = [n for n in names if all(n in leaves and leaves[n] == first[n] for _, leaves in flat)]
    differing = [
        (
            run_label(run),
            [Fact(n, plain(leaves[n])) for n in names if n in leaves and n not in shared],
        )
        for run, leaves in flat
    ]
    return (
        [Fact(name, plain(first[name])) for name in shared],
        [(label, facts) for label, facts in differing if facts],
    )


def run_label(run: Run) -> str:
    """The folder's name, and its parent's where that alone would say little."""
    return "/".join(run.path.parts[-2:])


def plain(value: Any) -> str:
    """A JSON value as a person would write it; a float that is not finite is a dash."""
    if value is None:
        return measures.MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return measures.MISSING if number(value) is None else f"{value:g}"
    if isinstance(value, (list, tuple)):
        return " ".join(str(v) for v in value)
    return str(value)


def _count(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole else plain(value)


def _is_entry(content: Mapping[str, Any]) -> bool:
    return any(key in content for key in ("count", "share", "promise", "promised"))


def _leak(name: str, entry: Any) -> Leak | None:
    if isinstance(entry, Mapping):
        count, share = number(entry.get("count")), number(entry.get("share"))
        total = number(entry.get("total", entry.get("of")))
        if share is None and count is not None and total:
            share = count / total
        promise = entry.get("promise", entry.get("promised"))
        meaning = next(
            (str(entry[k]) for k in ("sentence", "meaning", "explanation") if entry.get(k)), ""
        )
    else:
        count, share, promise, meaning = number(entry), None, None, ""
        if count is not None and not float(count).is_integer():
            count, share = None, count
    if count is None and share is None:
        return None
    held = _held_to(promise)
    worst = count if count is not None else share
    return Leak(
        name=name.replace("_", " "),
        meaning=meaning or _MEANINGS.get(name, ""),
        count=measures.MISSING if count is None else f"{count:,.0f}",
        share="" if share is None else _percent(share),
        share_value=share,
        promise=f"held to {held:g}" if held is not None else "",
        is_broken=held is not None and worst is not None and worst > held,
    )


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.001 else f"{share:.1%}"


def _held_to(promise: Any) -> float | None:
    """Promises are written as a bound, as true, or as the word zero; none is null or false."""
    if promise is True or (isinstance(promise, str) and promise.lower() in ("zero", "none", "0")):
        return 0.0
    return number(promise)


def _side_by_side(kind: str, runs: list[Run]) -> Settings:
    title = "Trained runs" if kind == "train" else "Baselines"
    if len(runs) == 1:
        return Settings(title, runs[0].config_yaml.strip(), (), ())
    flat = [(run, flatten(run.config)) for run in runs]
    names = list(dict.fromkeys(name for _, leaves in flat for name in leaves))
    absent = object()
    shared = [
        n for n in names if all(leaves.get(n, absent) == flat[0][1].get(n) for _, leaves in flat)
    ]
    differing = tuple(n for n in names if n not in shared)
    rows = tuple(
        (run_label(run), tuple(plain(leaves[n]) if n in leaves else "" for n in differing))
        for run, leaves in flat
    )
    return Settings(title, _as_yaml({n: flat[0][1][n] for n in shared}), differing, rows)


def _as_yaml(leaves: dict[str, Any]) -> str:
    tree: dict[str, Any] = {}
    for name, value in leaves.items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = value
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).strip() if tree else ""


def audit_sentence(section: Section) -> str:
    """The largest share that leaks into the final split, in words."""
    if section.manifest is None:
        return ""
    by_split = dict(leaks(section.manifest))
    split = section.final_split
    shares = [e for e in by_split.get(split, []) if e.share_value is not None]
    worst = max(shares, key=lambda e: e.share_value or 0.0, default=None)
    if worst is None or (worst.share_value or 0.0) < 0.001:
        return ""
    return f"On {split}, the largest share is {worst.share}: {worst.meaning or worst.name}."
