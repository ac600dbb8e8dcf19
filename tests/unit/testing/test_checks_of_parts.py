"""The checks of rating models, losses, metrics, baselines and sources of other packages.

They hold for ours, and find what is broken.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import itrec_dist as itrec
from itrec_dist import testing
from itrec_dist.data.sources import chosen
from itrec_dist.data.sources.source import Source
from itrec_dist.errors import ConfigError, DataError
from itrec_dist.losses import LOSSES
from itrec_dist.losses.mse import MseConfig
from itrec_dist.metrics import METRICS
from itrec_dist.metrics.metric import RankingMetric, RatingMetric
from itrec_dist.models.dot_product import DotProductConfig
from itrec_dist.models.rating_model import RatingModel
from itrec_dist.tasks.next_items.baselines import BASELINES
from itrec_dist.tasks.ratings.baselines import BASELINES as RATING_BASELINES
from tests.cases import slow_after

pytestmark = pytest.mark.usefixtures("one_thread")

RATING_MODELS = {
    "dot product": DotProductConfig(width=3),
    "neural": itrec.models.NeuralMF(width=3, hidden_width=5),
    "biased": itrec.models.BiasedMF(width=3),
    "SVD++": itrec.models.SVDpp(width=3),
    "AutoRec": itrec.models.AutoRec(width=4, side="both", dropout=0.0, input_dropout=0.0),
    "BST": itrec.models.BST(width=8, hidden_widths=(6,), genres=False, dropout=0.0),
}


@pytest.mark.parametrize("settings", RATING_MODELS.values(), ids=RATING_MODELS)
def test_models_of_ratings_of_ours_keep_what_they_promise(settings):
    told = replace(testing.small_spec(), user_cardinalities=(2, 3))
    testing.check_model(settings, spec=told if settings.kind == "bst" else None)


class Rated(RatingModel):
    """The product of the vectors of user and item."""

    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self.user_embedding = torch.nn.Embedding(spec.num_users + 1, 3)
        self.item_embedding = torch.nn.Embedding(spec.num_items + 1, 3)

    def forward(self, batch: Any, item_ids_BN: torch.Tensor) -> Any:
        users_B = self.known_users(batch.user_ids_B)
        items_BN = self.known_items(item_ids_BN)
        user_BD, item_BND = self.user_embedding(users_B), self.item_embedding(items_BN)
        product_BN = (user_BD[:, None] * item_BND).sum(dim=2)
        return self.or_biases(product_BN, users_B, items_BN), None


class ToldRating(Rated):
    """Looks at the rating that it predicts."""

    def forward(self, batch: Any, item_ids_BN: torch.Tensor) -> Any:
        ratings_BN, penalty_B = super().forward(batch, item_ids_BN)
        return ratings_BN + batch.target_ratings_BK.mean(dim=1)[:, None] / 10, penalty_B


class KnownAlone(Rated):
    """Knows the users of its table alone."""

    def forward(self, batch: Any, item_ids_BN: torch.Tensor) -> Any:
        user_BD, item_BND = self.user_embedding(batch.user_ids_B), self.item_embedding(item_ids_BN)
        return (user_BD[:, None] * item_BND).sum(dim=2), None


class Unlearned(Rated):
    """Holds the training ratings outside of its state."""

    def fit_statistics(self, ratings: Any) -> None:
        super().fit_statistics(ratings)
        self.last = float(ratings.ratings_R[:9].mean())

    def forward(self, batch: Any, item_ids_BN: torch.Tensor) -> Any:
        ratings_BN, penalty_B = super().forward(batch, item_ids_BN)
        return ratings_BN + self.last, penalty_B


@dataclass(frozen=True)
class RatedConfig(DotProductConfig):
    """Settings of one of these models."""

    built: type[Rated] = Rated

    def build(self, spec: Any) -> Any:
        return self.built(spec)


def test_the_rating_model_that_others_break_is_whole():
    testing.check_model(RatedConfig())


@pytest.mark.parametrize(
    ("built", "words"),
    [
        (ToldRating, "depend on the targets"),
        (KnownAlone, "users or items beyond the tables cannot be predicted for"),
        (Unlearned, "register what it holds"),
    ],
)
def test_a_broken_promise_of_a_rating_model_is_named(built, words):
    with pytest.raises(AssertionError, match=words):
        testing.check_model(RatedConfig(built=built))


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"contrast"}))  # which takes no targets
def test_losses_of_ours_keep_what_they_promise(name):
    testing.check_loss(LOSSES[name]())


@dataclass(frozen=True)
class Flawed:
    """Cross entropy, with a flaw."""

    flaw: Literal["padded", "upside down", "one number", "unbiased"] = "padded"
    kind: str = "flawed"

    def per_query(self, queries: Any, target_ids_NK: torch.Tensor, table: Any) -> torch.Tensor:
        scores_NC = table.all_scores(queries)
        logs_NC = torch.log_softmax(-scores_NC if self.flaw == "upside down" else scores_NC, dim=1)
        loss_NK = -logs_NC.gather(1, (target_ids_NK - 1).clamp(min=0))
        if self.flaw != "padded":
            loss_NK = loss_NK * (target_ids_NK > 0)
        loss_N = loss_NK.sum(dim=1)
        return loss_N.mean() if self.flaw == "one number" else loss_N

    def initial_bias(self, target_counts_C: torch.Tensor, num_windows: int) -> torch.Tensor:
        return (target_counts_C[1:] / num_windows).log()


class Squares(MseConfig):
    """Draws predictions to the middle."""

    def per_window(self, predicted_BK: torch.Tensor, ratings_BK: torch.Tensor) -> torch.Tensor:
        return (predicted_BK - 3).square().mean(dim=1)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Flawed("padded"), "without a target is not 0"),
        (Flawed("upside down"), "and not to the first"),
        (Flawed("one number"), r"gives the shape \(\)"),
        (Flawed("unbiased"), r"initial_bias has the shape \(9,\)"),
        (Squares(), "and not to the ratings"),
    ],
)
def test_a_broken_promise_of_a_loss_is_named(loss, words):
    with pytest.raises(AssertionError, match=words):
        testing.check_loss(loss)


def test_what_is_no_loss_is_refused():
    with pytest.raises(ConfigError, match="is no loss"):
        testing.check_loss(itrec.models.SASRec())


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"loss"}))  # which no one computes
def test_metrics_of_ours_keep_what_they_promise(name):
    testing.check_metric(METRICS[name])


class Misses(RankingMetric):
    """The share of windows without a hit; lower is better."""

    name = "misses"
    label = "Misses"
    higher_is_better = True

    def compute(self, counts: Any, k: int) -> float:
        return 1 - sum(counts.first_hits(k)) / counts.num_windows


class OfAll(RankingMetric):
    """Hits per target of all windows together."""

    name = "of_all"
    label = "Hits of all"
    higher_is_better = True
    is_mean = True

    def compute(self, counts: Any, k: int) -> float:
        return sum(counts.hits_by_targets(k)) / int(counts.targets_C.sum())


class Signed(RatingMetric):
    """The share of ratings that are predicted too low."""

    name = "signed"
    label = "Too low"
    higher_is_better = True

    def term(self, error_BK: torch.Tensor, width: float) -> torch.Tensor:
        return error_BK.abs().double()

    def compute(self, mean: float, width: float) -> float:
        return mean


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Misses, "no order of higher_is_better=True"),
        (OfAll, "leave out is_mean"),
        (Signed, "no order of higher_is_better=True"),
        (type("Nameless", (RankingMetric,), {"label": "x"}), "has no name"),
    ],
)
def test_a_broken_promise_of_a_metric_is_named(metric, words):
    with pytest.raises(AssertionError, match=words):
        testing.check_metric(metric)


@pytest.mark.parametrize(
    ("name", "task"),
    slow_after(
        2,
        [
            ("linear_history", "next_items"),
            ("biases", "ratings"),
            *((n, "next_items") for n in BASELINES if n not in ("linear_history", "ials")),
            *((n, "ratings") for n in RATING_BASELINES if n not in ("biases", "surprise_svd")),
        ],
    ),
)
def test_baselines_of_ours_keep_what_they_promise(name, task):
    registry: Any = BASELINES if task == "next_items" else RATING_BASELINES
    testing.check_baseline(registry[name](), task=task)


@dataclass(frozen=True)
class Drawn:
    """A baseline with a flaw."""

    flaw: str

    def fit(self, training: Any) -> Any:
        num_items = training.manifest.num_items
        salt = torch.rand(num_items)

        def score(inputs: Any) -> torch.Tensor:
            if self.flaw == "last":
                return salt[:-1].expand(len(inputs), -1)
            if self.flaw == "crowd":
                return salt.expand(len(inputs), -1) * len(inputs)
            return salt.expand(len(inputs), -1)

        return score


@pytest.mark.parametrize(
    ("flaw", "words"),
    slow_after(
        1,
        [
            ("crowd", "depend on the other rows"),
            ("last", "not one for each row and item"),
            ("drawn", "fitted twice"),
        ],
    ),
)
def test_a_broken_promise_of_a_baseline_is_named(flaw, words):
    with pytest.raises(AssertionError, match=words):
        testing.check_baseline(Drawn(flaw))


def test_a_source_of_ours_keeps_what_it_promises(ratings_folder):
    testing.check_source(chosen("ml-1m"), ratings_folder)


@pytest.mark.parametrize(
    ("flaw", "words"),
    slow_after(
        2,
        [
            ("unread", "not there is read"),
            (
                "unnamed",
                r"item_features has \['decade', 'genres'\], which the result does not name",
            ),
            ("rated", "has_ratings=False is not so"),
            ("crash", "ends in RuntimeError: raise a DataError"),
        ],
    ),
)
def test_a_broken_promise_of_a_source_is_named(flaw, words, ratings_folder):
    whole = chosen("ml-1m")

    @dataclass(frozen=True)
    class Broken(Source):
        def stage(self, database: Any, path: Path) -> Any:
            if flaw == "crash" and not path.exists():
                raise RuntimeError
            staged = whole.stage(database, ratings_folder if flaw == "unread" else path)
            given: dict[str, Any] = {
                "unnamed": {"item_features": ()}, "rated": {"has_ratings": False},
            }  # fmt: skip
            return replace(staged, **given.get(flaw, {}))

    with pytest.raises(AssertionError, match=words):
        testing.check_source(Broken(), ratings_folder)


def test_an_example_that_is_refused_is_the_source_s_own_sentence(tmp_path):
    with pytest.raises(DataError):
        testing.check_source(chosen("ml-1m"), tmp_path)
