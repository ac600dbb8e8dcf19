"""A run: its settings and figures, and its model, which evaluates, recommends and compares."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from itrec_dist.api import frames
from itrec_dist.api.figures import Figures
from itrec_dist.api.shards import Data
from itrec_dist.errors import ItrecError, ItrecWarning
from itrec_dist.runs.directory import BEST, RunDirectory
from itrec_dist.storage.uri import Uri, parse_place

if TYPE_CHECKING:
    import pyarrow as pa

    from itrec_dist.api.recommendations import Recommendations
    from itrec_dist.inference.load import Restored
    from itrec_dist.inference.recommend import Outcome
    from itrec_dist.training.config import RunConfig


class Run:
    """A run directory that `train` wrote. Its model is loaded when it is first needed."""

    def __init__(self, path: Path | Uri, checkpoint: str = BEST) -> None:
        self.path = path
        """Where it is."""
        self.checkpoint = checkpoint
        """The checkpoint whose model is used: best, last, or an older one."""

    @functools.cached_property
    def directory(self) -> RunDirectory:
        """Its files, on this machine.

        Raises:
            CheckpointError: there is no such run.
        """
        from itrec_dist.runs.fetched import local_run

        return RunDirectory.existing(local_run(self.path))

    @functools.cached_property
    def restored(self) -> Restored:
        """The loaded model with its items, for those who need its tensors.

        Raises:
            CheckpointError: there is no such run or checkpoint, or it is damaged.
        """
        from itrec_dist.inference.load import restore
        from itrec_dist.runs.fetched import local_run

        return restore(local_run(self.path, self.checkpoint), self.checkpoint)

    @functools.cached_property
    def config(self) -> RunConfig:
        """All settings of the run.

        Raises:
            CheckpointError: it is of another version.
            ConfigError: it is of a baseline, which has other settings.
        """
        from itrec_dist import config
        from itrec_dist.training.config import RunConfig

        return config.load(RunConfig, self.directory.config)

    @property
    def metrics(self) -> dict[str, Figures]:
        """Split -> the figures of the best epoch, as they were found at its end; see `evaluate`.

        Empty if the run is not complete.
        """
        from itrec_dist.metrics.judgement import Judgement

        directory = self.directory
        if not directory.is_complete:
            return {}
        splits = directory.read_json(directory.evaluation)["splits"]
        return {s: Figures(s, Judgement.from_json(content)) for s, content in splits.items()}

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The lines of its log, such as those of "epoch"; all without `kind`."""
        return self.directory.events(kind)

    @property
    def data(self) -> Data:
        """The shards that it was trained on.

        Raises:
            ShardsError: they are gone.
        """
        return Data(self.config.shards)

    @overload
    def evaluate(self, split: str, **options: Any) -> Figures: ...

    @overload
    def evaluate(self, split: None = None, **options: Any) -> dict[str, Figures]: ...

    def evaluate(self, split: str | None = None, **options: Any) -> Figures | dict[str, Figures]:
        """Evaluate the model again, on the shards of the run or on others.

        Args:
            split: "test" or "validation"; None evaluates both.
            options: by the names of the options of `itrec evaluate`: `data` or `shards`, other
                shards; `cutoffs`, lengths of the ranked list; `metrics`, further ones; `seen`,
                what the masked ranking leaves out; `out` and `overwrite`, a JSON file to write.

        Returns:
            The figures, or those of each split by its name.

        Raises:
            ConfigError: an option is unknown or of the wrong type.
            ShardsError: the shards do not fit the model, or have no such split.

        Warns:
            ItrecWarning: many targets cannot be found, or the model has seen other shards.

        Examples:
            >>> run.evaluate("test", cutoffs=[10])["masked/ndcg@10"]
            0.1612
        """
        from itrec_dist.api.evaluation import evaluated
        from itrec_dist.options import evaluate as evaluate_options

        parsed = evaluate_options.parser().parse_settings(self._given(options))
        done = evaluated(self, parsed, None if split is None else (split,))
        for text in done.warnings:
            warnings.warn(text, ItrecWarning, stacklevel=2)
        figures = {name: Figures(name, judgement) for name, judgement in done.judgements.items()}
        return figures if split is None else figures[split]

    def recommend(self, histories: Any = None, *, k: int = 5, **options: Any) -> Any:
        """The best next items of users, without those seen before.

        Args:
            histories: whom to recommend to:
                a table of their whole histories with an event in each row, in the columns that
                `read` was given, or a path of one;
                a table with a list of items in the column of items, oldest first;
                lists of item ids, oldest first, or a mapping from user to such a list;
                a list of user ids of the shards; None serves all of these.
            k: items per user.
            options: by the names of the options of `itrec recommend`: `among`, the only items to
                recommend, `without`, those not to, both as lists; `seen`, what is left out:
                "history", "input" or "none"; `at`, when they are asked for, as a date, `"now"` or a
                number, for a model that is told the time of the query; `data` or `shards`, other
                shards.

        Returns:
            A table of user, rank (1 is the best), item, title and score, users in the order given
            (those of a table of events sorted) and ids as text; users of lists are their
            positions. Of pandas or Polars if the histories are, otherwise of Arrow.

        Raises:
            ConfigError: an option is unknown, or there are no k items to recommend.
            DataError: the histories cannot be read, or the model knows none of their items.
            ShardsError: the shards do not fit the model.

        Warns:
            ItrecWarning: some of the items are unknown to the model.

        Examples:
            >>> run.recommend([["260", "1196"], ["1"]], k=10).to_pandas()
        """
        made = self._requested(histories, k=k, **options)
        return frames.like(made.table(), histories)

    def write_recommendations(
        self,
        out: str | Path,
        histories: Any = None,
        *,
        k: int = 5,
        overwrite: bool = False,
        workers: int | None = None,
        **options: Any,
    ) -> Outcome:
        """Write what `recommend` gives to a Parquet file, or by a cluster to a folder of parts.

        Args:
            out: the file, or with `workers` the folder; or its URI.
            histories: whom to recommend to; see `recommend`.
            k: items per user.
            overwrite: whether to replace the file or folder if it exists.
            workers: score on a Ray cluster by so many; None scores in this process.
            options: see `recommend`; with `workers` also `resume`, `address` and `memory_limit`.

        Returns:
            How many users were served, and how many of them by popularity.

        Raises:
            OutputError: the file exists, or the folder and holds another request's parts; see
                `recommend` for others.
            TrainingError: workers were lost too often.

        Examples:
            >>> run.write_recommendations("top.parquet", k=10).users
            6040
            >>> run.write_recommendations("s3://bucket/top", "s3://bucket/events", workers=8)
        """
        if workers is None:
            made = self._requested(histories, k=k, **options)
            return made.write(parse_place(out), overwrite=overwrite)
        from itrec_dist.api.scoring import scored

        given = {**options, "k": k, "out": out, "overwrite": overwrite, "workers": workers}
        parsed, histories = self._parsed(histories, given)
        done = scored(self, parsed, histories)
        for text in done.notes:
            warnings.warn(text, ItrecWarning, stacklevel=2)
        return done.outcome

    def export(
        self,
        out: str | Path,
        *,
        format: str = "torch",
        k: int | None = None,
        license: str | None = None,
        overwrite: bool = False,
    ) -> Uri | Path:
        """Write the model as a folder that serves without this package.

        Args:
            out: the folder, or its URI: the model, signature.json, items.parquet and a model card.
            format: "torch", which torch alone loads, or "onnx".
            k: let the model return so many of the best items besides the scores of all.
            license: the licence that the card states, such as "apache-2.0".
            overwrite: whether to replace the folder if it exists.

        Returns:
            The model's file.

        Raises:
            ConfigError: a model of this kind cannot be exported.
            EnvironmentProblem: a package that the format needs is missing.
            OutputError: the folder exists.

        Example:
            >>> run.export("serve", format="onnx", k=10)
        """
        from itrec_dist.api.exporting import exported
        from itrec_dist.options import export as export_options

        given = {"out": out, "format": format, "k": k, "license": license, "overwrite": overwrite}
        return exported(self, export_options.parser().parse_settings(self._given(given)))

    def similar(self, item: str, k: int = 10) -> pa.Table:
        """The items most similar to an item, by the cosine of the item embedding's vectors.

        Args:
            item: a source id or a title.
            k: items to list.

        Returns:
            A table of item, title and cosine, best first.

        Raises:
            ConfigError: there is no such item.
            CheckpointError: the model has no item embedding, or the run no such checkpoint.

        Examples:
            >>> run.similar("Toy Story (1995)", k=3)["title"].to_pylist()
        """
        import pyarrow as pa

        from itrec_dist.inference import similar
        from itrec_dist.runs.fetched import local_run
        from itrec_dist.training import warm_start

        embedding = warm_start.read(local_run(self.path, self.checkpoint), self.checkpoint)
        found = similar.similar(embedding, str(item), k)
        names = ("item", "title", "cosine")
        columns = zip(*found, strict=True)
        return pa.table(dict(zip(names, map(list, columns), strict=True)))

    def _requested(self, histories: Any, **options: Any) -> Recommendations:
        from itrec_dist.api.recommendations import requested

        parsed, histories = self._parsed(histories, options)
        made = requested(self, parsed, histories)
        for text in (*made.notes, made.warning, made.skipped):
            if text:
                warnings.warn(text, ItrecWarning, stacklevel=3)
        return made

    def _parsed(self, histories: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        """The options of `itrec recommend`, and histories that are no path."""
        from itrec_dist.options import recommend as recommend_options

        given = self._given(options)
        for name in ("among", "without"):
            if isinstance(given.get(name), (list, tuple, set, frozenset)):
                given[name] = ",".join(map(str, given[name]))
        if "at" in given:
            given["at"] = str(given["at"])  # of a date and time, what the option reads
        if isinstance(histories, (str, Path)):
            given["histories"], histories = histories, None
        return recommend_options.parser().parse_settings(given), histories

    def _given(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options with this run and its checkpoint; `data` is another name of the shards."""
        given = {name: value for name, value in options.items() if value is not None}
        if (data := given.pop("data", None)) is not None:
            given["shards"] = data.path if isinstance(data, Data) else data
        return given | {"run": self.path, "checkpoint": self.checkpoint}

    def __repr__(self) -> str:
        if not self.directory.is_complete:
            return f"Run({str(self.path)!r}: not complete)"
        try:
            label = f"{self.config.label}; "
        except ItrecError:  # a baseline
            label = ""
        from itrec_dist.runs.console import in_brief

        splits = [f"{s}: {', '.join(in_brief(f.judgement))}" for s, f in self.metrics.items()]
        return f"Run({str(self.path)!r}: {label}{'; '.join(splits)})"


def load(path: str | Path, checkpoint: str = BEST) -> Run:
    """Open a run that `train`, `itrec train` or a sweep wrote.

    Args:
        path: the run directory, or its URI.
        checkpoint: whose model to use: "best", "last", or an older one such as "last-00001200".

    Raises:
        CheckpointError: it is no run directory.

    Examples:
        >>> itrec.load("run").recommend([["260"]])
    """
    run = Run(parse_place(path), checkpoint)
    run.events("end")  # refuses what is no run
    return run
