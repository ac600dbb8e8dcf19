"""What the leakage audits of all kinds of windows share: promises, shares and the audit as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
