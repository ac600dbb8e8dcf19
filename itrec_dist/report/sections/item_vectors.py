"""Sections of item vectors: the loss is all that is judged."""

from itrec_dist.report.sections.section import TaskSection


class ItemVectorsSection(TaskSection):
    """Vectors rank nothing for a user, so runs are compared by their loss."""

    def sentences(self) -> list[str]:
        """The findings, and what the loss cannot say."""
        return [
            *super().sentences(),
            "The loss compares runs that draw the same contrasts; it does not say how good the "
            "vectors are for anything.",
        ]
