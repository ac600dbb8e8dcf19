"""The Informative Transformer Encoder (Nitayanont): its arms, and fair comparisons.

The paper's arms are cross entropy and binary cross entropy with both kinds of side information,
and the latter without either kind. Added are the comparison that the paper lacks (softmax over all
targets), the model with a learned repeat bias, the best model so far, and the baselines. The
paper's protocol selects the best epoch on the same windows that it reports, so every arm is also
trained with separate windows for selection and evaluation, and on each user's last events.
"""

from collections.abc import Mapping

from itrec_dist.metrics.judgement import Judgement
from itrec_dist.reports import markdown
from itrec_dist.reports.published.ite import ACCURACY_1, ACCURACY_2
from itrec_dist.studies.study import Cut, Study, StudyArm, on_final_split
from itrec_dist.tasks.next_items.windows import WindowConfig


def _figures(splits: Mapping[str, Judgement]) -> str:
    return on_final_split(splits, {"P@5": ACCURACY_1, "HR@5": ACCURACY_2})


STUDY = Study(
    title="Informative Transformer Encoder: the paper's arms and ours",
    task="next_items",
    protocols={
        "paper-90-10": Cut("next_items", WindowConfig()),
        "paper-80-10-10": Cut("next_items", WindowConfig(test_fraction=0.1)),
        "leave-last": Cut("next_items", WindowConfig(protocol="leave_last")),
    },
    arms=(
        StudyArm("ce-both", "paper", ("loss=ce",)),
        StudyArm("bce-both", "paper", ("loss=bce",)),
        StudyArm("bce-user", "paper", ("loss=bce", "model.side_information=user")),
        StudyArm("bce-movie", "paper", ("loss=bce", "model.side_information=movie")),
        StudyArm("bce-none", "paper", ("loss=bce", "model.side_information=none")),
        StudyArm("softmax-both", "paper", ("loss=softmax",)),
        StudyArm(
            "bce-both-repeat",
            "paper",
            ("model.repeat_bias=true", "name=ITE bce both, repeat bias"),
        ),
        StudyArm("best", "ml1m_best", ("name=ITE bce both, large, repeat bias",)),
    ),
    sources=("ml-1m", "ml-100k"),
    figures=_figures,
    markdown=markdown.markdown,
)
"""`itrec reproduce paper`."""
