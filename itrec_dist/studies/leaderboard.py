"""Next-item models and baselines on whole histories, beside published results.

The protocol is the field's: each user's last event is the test target and the one before it the
validation target, nobody is dropped, the whole catalogue is ranked and the history is left out.
Every model is trained with a fixed recipe, one set for data with long histories and one for data
with short ones; the epoch is selected on validation. Some arms are told more than items: features,
the context of events, or the time of the query, which is named in their labels. The report compares
them with the same model without it, and all models with the linear baseline, on the same users.
"""

from collections.abc import Mapping

from itrec_dist.metrics.judgement import Judgement
from itrec_dist.reports import markdown
from itrec_dist.reports.published.leaderboard import HIT_RATE, NDCG
from itrec_dist.studies.study import Cut, RecipeSets, Study, StudyArm, on_final_split
from itrec_dist.tasks.next_items.histories import HistoryConfig


def _figures(splits: Mapping[str, Judgement]) -> str:
    return on_final_split(splits, {"HR@10": HIT_RATE, "NDCG@10": NDCG})


STUDY = Study(
    title="Leaderboard: models and baselines on whole histories",
    task="next_items",
    protocols={"leave-one-out": Cut("next_items", HistoryConfig(), samples="histories")},
    arms=(
        StudyArm("sasrec", "sasrec"),
        StudyArm("gsasrec", "sasrec", ("loss=gbce", "loss.num_negatives=256", "name=gSASRec")),
        StudyArm("esasrec", "esasrec"),
        StudyArm("esasrec-linear", "esasrec_linear"),
        StudyArm("hstu", "hstu"),
        StudyArm("fuxi", "fuxi"),
        StudyArm("gru4rec", "gru4rec"),
        StudyArm("bert4rec", "bert4rec"),
        StudyArm("sasrec-item", "sasrec", ("model.side_information=item",)),
        StudyArm("sasrec-user", "sasrec", ("model.side_information=user",)),
        StudyArm("sasrec-context", "sasrec", ("model.event_context=[gap,hour]",)),
        StudyArm("hstu-query", "hstu", ("model.time_of_query=true",)),
        StudyArm("sasrec-softmax", "sasrec", ("loss=softmax",)),
        StudyArm("esasrec-softmax", "esasrec", ("loss=softmax",)),
    ),
    figures=_figures,
    markdown=markdown.markdown,
    recipes=RecipeSets(long="ml1m", short="beauty", boundary=30.0),
)
"""`itrec reproduce leaderboard`."""
