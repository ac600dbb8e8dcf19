"""What the leakage audits of all tasks share: checks, promises, shares and the audit as text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from itrec_dist.data import schema
from itrec_dist.data.database import Database
from itrec_dist.data.manifest import Manifest


@dataclass(frozen=True)
class Leakage:
    """The counts that an audit makes and what is promised of them."""

    explanations: Mapping[str, str]
    """Count -> what it counts, in a line."""
    wholes: Mapping[str, str]
    """Count, or its first word -> the count that it is a part of."""
    promises: Mapping[str, tuple[str, ...]]
    """Protocol -> counts that it promises to be zero in every evaluation split."""

    def audit(
        self, database: Database, protocol: str, counts: Callable[[str], Mapping[str, int]]
    ) -> dict[str, Any]:
        """`held` of every evaluation split that has windows, by split; `counts` counts one.

        Raises:
            AssertionError: a promise is broken.
        """
        present = {row["split"] for row in database.rows("shared/split_sizes")}
        evaluated = [s for s in (schema.VALIDATION, schema.TEST) if s in present]
        return {split: self.held(protocol, split, counts(split)) for split in evaluated}

    def held(self, protocol: str, split: str, counts: Mapping[str, int]) -> dict[str, Any]:
        """The counts, as `*_share` each one's part of its whole, and what was promised.

        Raises:
            AssertionError: a count is not zero that `protocol` promises to be.
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
        """The audit as text: one line per count, with its share, and a column per split."""
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
    """Run a check, a SQL file that returns one row per window that is not as it should be.

    Raises:
        AssertionError: it returned rows; nothing that a user gave can cause it.
    """
    rows = database.rows(check, **parameters)
    if rows:
        raise AssertionError(f"sql/{check}.sql found {len(rows)}, first {rows[0]}")
