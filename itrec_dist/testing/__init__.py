"""Checks for the tests of models, losses, metrics, baselines and sources of other packages.

    from itrec_dist import testing

    def test_my_parts():
        testing.check_model(MyConfig(width=8, dropout=0.0))
        testing.check_loss(MyLossConfig())
        testing.check_metric(MyMetric)
        testing.check_baseline(MyBaseline())
        testing.check_source(MySourceConfig(), "tests/sample.txt")

Every check makes small data and raises an AssertionError with a sentence that says what is wrong.
They hold for the parts of itrec-dist.
"""

from itrec_dist.testing.baselines import check_baseline
from itrec_dist.testing.export import check_export
from itrec_dist.testing.losses import check_loss
from itrec_dist.testing.metrics import check_metric
from itrec_dist.testing.models import (
    check_gradients,
    check_leakage,
    check_model,
    check_padding,
    check_rows,
    check_state,
    check_unknown,
)
from itrec_dist.testing.sources import check_source
from itrec_dist.testing.subject import Subject, small_spec

__all__ = [
    "Subject",
    "check_baseline",
    "check_export",
    "check_gradients",
    "check_leakage",
    "check_loss",
    "check_metric",
    "check_model",
    "check_padding",
    "check_rows",
    "check_source",
    "check_state",
    "check_unknown",
    "small_spec",
]
