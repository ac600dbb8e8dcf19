"""Rating prediction (Phan et al., part 2): its five systems, and the baselines they lack.

The source evaluates its factorisations on ratings held out at random and its transformers on
windows held out at random, and selects each one's best epoch on the split that it reports. Here all
systems are evaluated on the same held-out ratings, both random ones and each user's last. The
transformers, and a biased factorisation, are also evaluated on the source's own kind of windows.
The best epoch is selected on validation and reported on test.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from itrec_dist.metrics.judgement import Judgement
from itrec_dist.reports import markdown
from itrec_dist.reports.sections.ratings import MAE, RMSE
from itrec_dist.studies.study import Cut, Study, StudyArm, on_final_split
from itrec_dist.tasks.next_items.windows import WindowConfig
from itrec_dist.tasks.ratings.baselines import RatingsBaselines
from itrec_dist.tasks.ratings.windows import RatingWindowConfig

_RATED = ("random-80-10-10", "last-80-10-10")
_WINDOWS = ("source-windows",)


def _figures(splits: Mapping[str, Judgement]) -> str:
    return on_final_split(splits, {"RMSE": RMSE, "MAE": MAE})


def _markdown(places: Sequence[Path]) -> str:
    """The tables, and a note on references that could not be run."""
    text = markdown.markdown(places)
    if missing := RatingsBaselines().missing():
        text += f"\nNot run because not installed: {', '.join(missing)} (itrec-dist[references]).\n"
    return text


STUDY = Study(
    title="Rating prediction: the source's systems and the baselines they lack",
    task="ratings",
    protocols={
        "random-80-10-10": Cut("ratings", RatingWindowConfig()),
        "last-80-10-10": Cut("ratings", RatingWindowConfig(protocol="last_ratings")),
        "source-windows": Cut("next_items", WindowConfig(
            top_items=None, min_user_events=1, input_length=7, target_length=1, stride=2,
            test_fraction=0.1,
        )),
    },
    arms=(
        StudyArm("dot-product", "rating_dot_product", protocols=_RATED),
        StudyArm("model-1", "rating_model_1", protocols=_RATED),
        StudyArm("model-2", "rating_model_2", protocols=_RATED),
        StudyArm("bst", "rating_bst", ("name=BST baseline",), (*_RATED, *_WINDOWS)),
        StudyArm("bst-tuned", "rating_bst_tuned", ("name=BST tuned",), (*_RATED, *_WINDOWS)),
        StudyArm("biased-mf", "rating_biased_mf", protocols=(*_RATED, *_WINDOWS)),
        StudyArm("svdpp", "rating_svdpp", protocols=_RATED),
        StudyArm("autorec-item", "rating_autorec", protocols=_RATED),
        StudyArm("autorec-user", "rating_autorec", ("model.side=user",), _RATED),
    ),
    sources=("ml-1m", "ml-100k"),
    figures=_figures,
    markdown=_markdown,
)  # fmt: skip
"""`itrec reproduce blog`."""
