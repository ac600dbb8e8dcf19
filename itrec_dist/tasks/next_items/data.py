"""Windows and baselines of the next-items task."""

from itrec_dist.tasks.data import TaskData
from itrec_dist.tasks.next_items.baselines import NextItemsBaselines
from itrec_dist.tasks.next_items.histories import NextItemsHistories
from itrec_dist.tasks.next_items.windows import NextItemsWindows

DATA = TaskData(NextItemsWindows(), NextItemsBaselines(), NextItemsHistories())
