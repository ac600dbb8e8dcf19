"""The sources that are found by name, and what is refused of them."""

import subprocess
import sys

import pytest

from itrec_dist.data import sources
from itrec_dist.data.sources import SOURCES
from itrec_dist.data.sources.source import Source
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.errors import ConfigError


def test_ours_are_listed_by_the_names_that_they_call_themselves():
    assert list(SOURCES) == ["ml-100k", "ml-10m", "ml-1m", "ml-csv", "table"]
    for name in SOURCES:
        found = sources.chosen(name)
        assert isinstance(found, Source)
        assert getattr(found, "name", "table") == name


def test_settings_belong_to_their_source():
    own = TableConfig(TableColumns(user="who"))
    assert sources.chosen("table", own) is own
    assert sources.chosen("ml-1m", TableConfig()) == SOURCES["ml-1m"]()  # nothing was given
    with pytest.raises(ConfigError, match="give --columns with --source table only"):
        sources.chosen("ml-1m", own)
    assert sources.settings_of("ml-1m") is sources.settings_of("table") is TableConfig


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "ml_1m",
            r"there is no source 'ml_1m' \(did you mean ml-1m\?\); there are: ml-100k, ml-10m",
        ),
        ("no_such_module:Mine", "the source no_such_module:Mine"),
        ("json:JSONDecoder", "the source json:JSONDecoder is not a class derived from"),
    ],
)
def test_what_is_no_source_is_refused(name, words):
    with pytest.raises(ConfigError, match=words):
        sources.chosen(name)


def test_sources_are_listed_without_opening_a_database():
    program = (
        "import sys\nfrom itrec_dist.data.sources import SOURCES\n"
        "print(*SOURCES, *({'duckdb', 'pyarrow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == list(SOURCES)
