"""Makes run directories as training and baselines leave them, with curves given by formulas."""

import json
import math
import random
from pathlib import Path
from typing import Any

import yaml

METRICS = ("precision", "hit_rate", "recall", "ndcg", "mrr", "coverage", "popularity")

AUDIT = {
    split: {
        "targets": 34515, "targets_in_training_inputs": 28650,
        "targets_in_training_targets": 12000, "targets_counted_in_catalogue": 34515,
        "targets_tied_with_training": 9000, "training_events": 560000,
        "training_events_not_before": 559000, "training_events_after_own": 230000,
        "shared_events": 90, "num_users": 4000, "shared_users": 3980,
        "targets_in_training_inputs_share": 0.83, "shared_events_share": 90 / 560000,
        "promised_zero": [],
    }
    for split in ("validation", "test")
}  # fmt: skip


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest with the counts of the paper's data, split 80/10/10."""
    rows = changes.pop("rows", {"train": 55222, "validation": 6903, "test": 6903})
    content: dict[str, Any] = {
        "format_version": 1,
        "input_length": 10, "target_length": 5, "num_items": 1000, "num_users": 5958,
        "protocol": "random_windows", "catalogue_from": "all data",
        "has_ratings": True, "rating_mean": 3.6, "rating_std": 1.1,
        "user_features": [
            {"name": "gender", "kind": "single", "values": ["F", "M"]},
            {"name": "age", "kind": "single", "values": ["1", "18", "25"]},
        ],
        "item_features": [{"name": "genres", "kind": "multi", "values": ["Action", "Drama"]}],
        "splits": {
            split: [{"name": f"{split}/part-00000.parquet", "rows": n, "bytes": 1, "sha256": "0"}]
            for split, n in rows.items()
        },
        "fingerprint": "5f2a9c1be07d4e63" * 4,
        "source": {"format": "ml-1m", "path": "ml-1m", "files": []},
        "settings": {"top_items": 1000, "min_user_events": 15, "stride": 10},
        "sql": {},
        "steps": [
            {"name": "ratings read", "ratings": 1000209, "users": 6040, "items": 3706},
            {"name": "1,000 most-rated items", "ratings": 747869, "users": 6038, "items": 1000},
            {"name": "users with 15 or more", "ratings": 746897, "users": 5958, "items": 1000},
        ],
        "audit": AUDIT,
        "version": "0.1",
    }  # fmt: skip
    return {**content, **changes}


def judgement(precision: float, windows: int = 6903, loss: float | None = 23.0) -> dict[str, Any]:
    """All measures, in a fixed relation to precision@5."""
    figures = {}
    for k in (5, 10, 20):
        grown = precision * (1 - 0.12 * math.log2(k / 5))
        figures |= {
            f"precision@{k}": grown,
            f"hit_rate@{k}": 1 - (1 - 0.84 * grown) ** k if k > 5 else 3.6 * precision,
            f"recall@{k}": grown * k / 5,
            f"ndcg@{k}": 1.15 * grown,
            f"mrr@{k}": 2.0 * precision,
            f"coverage@{k}": 0.5 + 0.01 * k,
            f"popularity@{k}": 1.8 - 0.01 * k,
        }
    masked = {name: 1.06 * value for name, value in figures.items()}
    return {"loss": loss, "num_windows": windows, "unmasked": figures, "masked": masked}


def config(loss: str = "bce", side: str = "both", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A resolved configuration of `itrec train`."""
    return {
        "shards": "shards/random", "out": f"runs/{loss}-{side}-{seed}", "name": "", "seed": seed,
        "loss": loss,
        "model": {
            "width": 128, "num_layers": 2, "num_heads": 4, "dropout": 0.2,
            "side_information": side,
        },
        "optimizer": {"name": "adamw", "learning_rate": 0.002, "weight_decay": 0.01},
        "training": {"epochs": 20, "batch_size": 512, "monitor": "unmasked/precision@5"},
        "cluster": {"num_workers": 2, "use_gpu": None},
        **changes,
    }  # fmt: skip


def trained(
    path: Path,
    *,
    best: float = 0.125,
    epochs: int = 20,
    config: dict[str, Any] | None = None,
    manifest: dict[str, Any] | None = None,
    complete: bool = True,
) -> Path:
    """A trained run that reaches `best` on validation and a little less on test."""
    settings = config or globals()["config"]()
    data = manifest or globals()["manifest"]()
    seed = settings["seed"]
    name = settings["name"] or f"ITE {settings['loss']} {settings['model']['side_information']}"
    path.mkdir(parents=True)
    _write_common(path, settings, data, seed)
    noise = random.Random(f"{name}{seed}")
    planned = settings["training"]["epochs"]
    events: list[dict[str, Any]] = [
        {"event": "start", "kind": "train", "name": name, "workers": 2, "batch_size": 512,
         "epochs": planned, "num_parameters": 412345, "steps_per_epoch": 108}
    ]  # fmt: skip
    curve = [
        best * (1 - 0.75 * math.exp(-e / 3) - 0.0009 * max(0, e - 14) ** 1.4)
        + noise.gauss(0, 0.0006)
        for e in range(1, epochs + 1)
    ]
    chosen = max(range(epochs), key=curve.__getitem__) + 1 if epochs else None
    base = 45.0 if settings["loss"] == "bce" else 6.2
    for e, value in enumerate(curve, 1):
        loss = base * (0.48 + 0.5 * math.exp(-e / 2) - 0.006 * e)
        events.append(
            {"event": "epoch", "epoch": e, "step": e * 108, "seconds": 9.4 + noise.random(),
             "windows_per_second": 5900 + 200 * noise.random(), "loss": loss,
             "train": judgement(value * (1 + 0.022 * e), 5000, loss),
             "validation": judgement(value, loss=loss * (1 + 0.012 * e)),
             "is_best": value >= max(curve[:e])}
        )  # fmt: skip
    if complete:
        events.append(
            {"event": "end", "reason": "finished", "best_epoch": chosen, "seconds": 9.9 * epochs}
        )
        splits = {"validation": judgement(curve[chosen - 1])}
        if "test" in data["splits"]:
            splits["test"] = judgement(curve[chosen - 1] - 0.001 + noise.gauss(0, 0.0005))
        _write(
            path / "evaluation.json",
            _evaluation("train", name, epoch=chosen, seed=seed, data=data, splits=splits),
        )
        _write(path / "samples.json", samples())
    lines = [json.dumps({**event, "time": 1.7e9 + i}) for i, event in enumerate(events)]
    (path / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def baseline(path: Path, name: str, value: float, manifest: dict[str, Any] | None = None) -> Path:
    """A judged baseline."""
    data = manifest or globals()["manifest"]()
    path.mkdir(parents=True)
    _write_common(path, {"shards": "shards/random", "out": str(path.name), "name": name}, data, 0)
    start = {"event": "start", "time": 1.7e9, "kind": "baseline", "name": name}
    (path / "log.jsonl").write_text(json.dumps(start) + "\n", encoding="utf-8")
    splits = {s: judgement(value, loss=None) for s in ("validation", "test") if s in data["splits"]}
    _write(
        path / "evaluation.json",
        _evaluation("baseline", name, epoch=None, seed=0, data=data, splits=splits),
    )
    return path


def study(folder: Path, seeds: int = 3) -> Path:
    """Six arms of a study with several seeds each, and four baselines."""
    arms = {
        ("bce", "both"): 0.129, ("bce", "user"): 0.1284, ("bce", "movie"): 0.1287,
        ("bce", "none"): 0.1243, ("ce", "both"): 0.1012, ("softmax", "both"): 0.1331,
    }  # fmt: skip
    for (loss, side), best in arms.items():
        for seed in range(seeds):
            trained(folder / f"{loss}-{side}-{seed}", best=best, config=config(loss, side, seed))
    for name, value in {
        "popularity": 0.031, "recent popularity": 0.048, "co-occurrence": 0.0998, "ridge": 0.134,
    }.items():  # fmt: skip
        baseline(folder / "baselines" / name.replace(" ", "-"), name, value)
    return folder


def samples() -> dict[str, Any]:
    """Two users with titles that a page must escape."""

    def item(title: str, year: int | None, *genres: str, **more: Any) -> dict[str, Any]:
        return {"title": title, "year": year, "genres": list(genres), **more}

    watched = [
        item("Dante's Peak", 1997, "Action", "Thriller", rating=3.0),
        item("Independence Day (ID4)", 1996, "Action", "Sci-Fi", "War", rating=5.0),
        item("Peacemaker, The", 1997, "Action", "Thriller", "War", rating=4.0),
        item("Amélie & <Friends>", None, "Romance", rating=None),
    ]
    actual = [
        item("Saint, The (1997)", 1997, "Action", "Romance", "Thriller"),
        item('"Alien": Resurrection', 1997, "Action", "Horror", "Sci-Fi"),
    ]
    predicted = [
        item("Eraser", 1996, "Action", "Thriller", score=2.41, is_hit=False, is_seen=False),
        item("Saint, The", 1997, "Action", "Romance", "Thriller",
             score=2.2, is_hit=True, is_seen=False),
        item("Dante's Peak", 1997, "Action", "Thriller", score=2.0, is_hit=False, is_seen=True),
    ]  # fmt: skip
    user = {"watched": watched, "actual": actual, "predicted": predicted}
    return {"split": "test", "users": [{"user": "8", **user}, {"user": "<27>", **user}]}


def _evaluation(
    kind: str,
    name: str,
    *,
    epoch: int | None,
    seed: int,
    data: dict[str, Any],
    splits: dict[str, Any],
) -> dict[str, Any]:
    return {
        "kind": kind, "name": name, "checkpoint": "best", "epoch": epoch, "seed": seed,
        "fingerprint": data["fingerprint"], "splits": splits,
    }  # fmt: skip


def _write_common(path: Path, config: dict[str, Any], data: dict[str, Any], seed: int) -> None:
    (path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    _write(path / "manifest.json", data)
    environment = {
        "versions": {"python": "3.11.9", "torch": "2.13.0", "ray": "2.60.0"},
        "hardware": {"cpu": "2 cores", "memory_gib": 7.7, "gpu": None},
        "commit": "0123abc",
        "command": ["itrec", "train", f"--seed={seed}"],
        "seed": seed,
    }
    _write(path / "environment.json", environment)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
