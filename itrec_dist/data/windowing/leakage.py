"""The leakage audit of all tasks: checks, promises, shares, and the audit as text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from itrec_dist.data import schema
from itrec_dist.data.database import Database
from itrec_dist.data.manifest import Manifest
from itrec_dist.data.windowing import totals


@dataclass(frozen=True)
class Leakage:
    """The counts of an audit, and which of them are promised to be zero."""

    explanations: Mapping[str, str]
    """Count -> a one-line description."""
    wholes: Mapping[str, str]
    """Count, or its first word -> the count that it is a share of."""
    promises: Mapping[str, tuple[str, ...]]
    """Protocol -> counts that it guarantees to be zero in every evaluation split."""

    def audit(
        self, database: Database, protocol: str, counts: Callable[[str], Mapping[str, int]]
    ) -> dict[str, Any]:
        """`checked` for every evaluation split with windows, by split; `counts` counts one split.

        Raises:
            AssertionError: a promise is broken.
        """
        present = totals.split_sizes(database)
        evaluated = [s for s in (schema.VALIDATION, schema.TEST) if s in present]
        return {split: self.checked(protocol, split, counts(split)) for split in evaluated}

    def checked(self, protocol: str, split: str, counts: Mapping[str, int]) -> dict[str, Any]:
        """The counts, the share of each in its whole as `*_share`, and the promised zeros.

        Raises:
            AssertionError: a count that `protocol` promises to be zero is not.
        """
        promised = self.promises[protocol]
        broken = {name: counts[name] for name in promised if counts[name]}
        if broken:
            raise AssertionError(
                f"{protocol} breaks its promise in {split}: {broken}; please report"
            )
        shares = {}
        for name in self.explanations:
            whole = counts[self.wholes.get(name) or self.wholes[name.split("_", 1)[0]]]
            shares[f"{name}_share"] = counts[name] / whole if whole else 0.0
        return {**counts, **shares, "promised_zero": list(promised)}

    def lines(self, manifest: Manifest) -> list[str]:
        """The audit as text: one line per count, and a column with its share per split."""
        if not manifest.audit:
            return ["leakage audit: there is no evaluation split"]
        header = "".join(f"{split:>21}" for split in manifest.audit)
        text = [f"{'leakage audit':<32}{header}  ({manifest.protocol})"]
        for name, explanation in self.explanations.items():
            cells = "".join(
                f"{counts[name]:>13,}{counts[name + '_share']:>8.1%}"
                for counts in manifest.audit.values()
            )
            promise = "; zero, as promised" if name in self.promises[manifest.protocol] else ""
            text.append(f"  {name:<30}{cells}  {explanation}{promise}")
        return text


def hold(database: Database, check: str, **parameters: int) -> None:
    """Run a check: a SQL file that returns one row per wrong window.

    Raises:
        AssertionError: it returned rows, which no user input can cause.
    """
    rows = database.rows(check, **parameters)
    if rows:
        raise AssertionError(f"sql/{check}.sql found {len(rows)}, first {rows[0]}")
