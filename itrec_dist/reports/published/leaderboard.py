"""Published results of next-item models on whole histories, and the check that ours are comparable.

Each user's last event is the test target and the one before it the validation target; every user
is judged, the whole catalogue is ranked and the user's history is left out. Results on sampled
candidates are another quantity and have no place here.
"""

from dataclasses import dataclass
from typing import Any

from itrec_dist.data.manifest import Manifest
from itrec_dist.metrics.metric import FigureName

HIT_RATE = FigureName("masked", "hit_rate", 10)
NDCG = FigureName("masked", "ndcg", 10)

REMARK = (
    "Leave-one-out, every user judged, the whole catalogue ranked, the history left out. Published "
    "results are those of one run each; a model that knows the time of the query knows more than "
    "the others. Ours are mean ± sample standard deviation over seeds, on test, with the epoch "
    "selected on validation."
)


@dataclass(frozen=True)
class Published:
    """One published result."""

    system: str
    hit_rate: float | None
    """HR@10."""
    ndcg: float | None
    """NDCG@10."""
    source: str
    knows_query_time: bool = False
    """Whether the model is given the time at which the recommendation is made."""


_GSASREC = "Petrov and Macdonald, gSASRec"
_RECTOOLS = "RecTools benchmark"
_ESASREC = "Tikhonovich et al., eSASRec"
_HSTU = "Zhai et al., generative-recommenders"

_ML_1M = (
    Published("HSTU-large", 0.3642, 0.2164, _RECTOOLS, knows_query_time=True),
    Published("HSTU", 0.3226, 0.1880, _RECTOOLS, knows_query_time=True),
    Published("HSTU-large, unstable order of ties", 0.3294, 0.1893, _HSTU, knows_query_time=True),
    Published("FuXi-alpha", 0.3164, 0.1813, _ESASREC),
    Published("SASRec, full cross entropy", 0.3152, None, "Klenitskiy and Vasilev, SASRec+"),
    Published("eSASRec", 0.3133, 0.1772, _ESASREC),
    Published("SASRec, full softmax", 0.3058, 0.1779, _RECTOOLS),
    Published("HSTU, positions only", 0.3023, 0.1718, _RECTOOLS),
    Published("gSASRec", 0.3003, 0.1726, _GSASREC),
    Published("BERT4Rec", 0.2921, 0.1618, _RECTOOLS),
    Published("SASRec, sampled softmax", 0.2853, 0.1603, _HSTU),
    Published("SASRec, one negative", 0.2392, 0.1259, _GSASREC),
)
_BEAUTY = (
    Published("eSASRec", 0.0928, 0.0523, _ESASREC),
    Published("SASRec, sampled softmax", 0.0921, 0.0531, _ESASREC),
    Published("DuoRec", 0.0845, 0.0443, "Qiu et al., DuoRec"),
    Published("ActionPiece", 0.0775, 0.0424, "Hou et al., ActionPiece"),
    Published("HSTU", 0.0704, 0.0389, "Hou et al., ActionPiece"),
    Published("TIGER", 0.0648, 0.0384, "Rajput et al., TIGER"),
    Published("SASRec, one negative", 0.0605, 0.0318, "Rajput et al., TIGER"),
)
_RESULTS = {(6040, 3706, 1_000_209): _ML_1M, (22_363, 12_101, 198_502): _BEAUTY}
"""(users, items, events) as read -> results: MovieLens 1M, Amazon Beauty with its 5-core."""


def results_on(manifest: Manifest | None) -> tuple[Published, ...]:
    """The published results that these histories can be compared with; empty if there are none."""
    if (
        manifest is None
        or manifest.samples != "histories"
        or manifest.protocol != "leave_one_out"
        or not manifest.steps
    ):
        return ()
    read, kept = manifest.steps[0], manifest.steps[-1]
    is_whole = kept.get("ratings") == read.get("ratings")
    sizes = (read.get("users", 0), read.get("items", 0), read.get("ratings", 0))
    return _RESULTS.get(sizes, ()) if is_whole else ()


def knows_query_time(config: dict[str, Any]) -> bool:
    """Whether a run's model is given the time of the query."""
    model = config.get("model")
    if not isinstance(model, dict):
        return False
    context = model.get("event_context") or ()
    return bool(model.get("time_of_query")) or "time_of_query" in context
