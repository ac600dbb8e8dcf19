"""What this machine has and lacks, for a program and for `itrec doctor`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from itrec_dist.system.doctor import Check


@dataclasses.dataclass(frozen=True)
class Examination:
    """The checks of a machine; printed, a table of them and what to do."""

    checks: tuple[Check, ...]
    """Each with a name, a status ("ok", "warning" or "failed"), what was found, and what to do."""

    @property
    def can_run(self) -> bool:
        """Whether training can run here."""
        from itrec_dist.system import doctor

        return doctor.can_run(list(self.checks))

    def __getitem__(self, name: str) -> Check:
        """The check of a name, such as "Memory"."""
        return {check.name: check for check in self.checks}[name]

    def table(self) -> str:
        """One line per check."""
        width = max(len(check.name) for check in self.checks)
        return "\n".join(f"{c.status:<8} {c.name:<{width}}  {c.found}" for c in self.checks)

    def advice(self) -> str:
        """What to do, and whether training can run."""
        actions = [f"  {check.name}: {check.action}" for check in self.checks if check.action]
        told = ["What to do:", *actions, ""] if actions else []
        closing = "Training can run here." if self.can_run else "Training cannot run here."
        return "\n".join([*told, closing])

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.advice()}"

    def __repr__(self) -> str:
        counts = dict.fromkeys(("ok", "warning", "failed"), 0)
        for check in self.checks:
            counts[check.status] += 1
        shown = ", ".join(f"{status}={count}" for status, count in counts.items())
        return f"Examination(can_run={self.can_run}, {shown})"


def doctor(*, start_ray: bool = False) -> Examination:
    """Check versions, devices, Ray, memory and disk of this machine; changes nothing.

    Args:
        start_ray: also start Ray, run one task on it and stop it, which takes about 15 seconds.

    Examples:
        >>> itrec.doctor().can_run
        True
        >>> itrec.doctor()["Memory"].values["total"]
        33554432000
    """
    from itrec_dist.system import doctor

    return Examination(tuple(doctor.examine(start_ray=start_ray)))
