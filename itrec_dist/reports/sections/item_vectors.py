"""Report section of the task item_vectors, whose only metric is the loss."""

from itrec_dist.reports.sections.section import TaskSection


class ItemVectorsSection(TaskSection):
    """Item vectors do not rank items for users, so runs are compared by their loss."""

    def sentences(self) -> list[str]:
        """The findings, and the limits of the loss."""
        return [
            *super().sentences(),
            "The loss compares runs with the same negative sampling; it does not measure how "
            "useful the vectors are.",
        ]
