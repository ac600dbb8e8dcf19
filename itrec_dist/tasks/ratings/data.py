"""Windows and baselines of rating prediction."""

from itrec_dist.tasks.data import TaskData
from itrec_dist.tasks.ratings.baselines import RatingsBaselines
from itrec_dist.tasks.ratings.windows import RatingsWindows

DATA = TaskData(RatingsWindows(), RatingsBaselines())
