import dataclasses
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from itrec_dist import config
from itrec_dist.config import fields
from itrec_dist.errors import ConfigError


@dataclass(frozen=True)
class Model:
    """The model's shape."""

    width: int = 64
    """Width of the encoder."""
    side: Literal["none", "both"] = "both"
    """Side information."""


@dataclass(frozen=True)
class Settings:
    """What is trained, and how."""

    model: Model = dataclasses.field(default_factory=Model)
    rate: float = 0.1
    """Learning rate."""
    top_items: int | None = 1000
    """Number of items kept."""
    fast: bool = False
    """Whether to hurry."""
    out: Path = Path("runs/new-run")
    """Where to write."""
    sizes: tuple[int, ...] = (5, 10)
    """Sizes of the lists."""

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate is {self.rate}, it must be above 0")


LEAVES = ["model.width", "model.side", "rate", "top_items", "fast", "out", "sizes"]


def refusal(*overrides: str, recipe: Path | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        config.load(Settings, recipe, overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def recipe(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_without_anything_the_defaults_stand():
    assert config.load(Settings) == Settings()


def test_a_recipe_wins_over_defaults_and_an_override_over_the_recipe(recipe):
    path = recipe("model:\n  width: 8\n  side: none\nrate: 0.5\n")
    assert config.load(Settings, path) == Settings(Model(8, "none"), 0.5)
    assert config.load(Settings, path, ["model.width=16"]) == Settings(Model(16, "none"), 0.5)


def test_on_a_command_line_later_settings_win(recipe):
    parser = config.Parser("itrec try", "Try.")
    parser.add_config_file()
    parser.add_class_arguments(Settings)
    path = str(recipe("rate: 0.5\ntop_items: 7\n"))
    after = parser.parse(["--config", path, "--rate=0.7"])
    before = parser.parse(["--rate=0.7", f"--config={path}"])
    assert config.pick(Settings, after) == Settings(rate=0.7, top_items=7)
    assert config.pick(Settings, before) == Settings(rate=0.5, top_items=7)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("top_items=null", Settings(top_items=None)),
        ("sizes=[1,2,3]", Settings(sizes=(1, 2, 3))),
        ("rate=1e-3", Settings(rate=0.001)),
        ("rate=2", Settings(rate=2.0)),
        ("fast=true", Settings(fast=True)),
        ("model.side=none", Settings(Model(side="none"))),
    ],
)
def test_values_are_read_as_their_fields_type(override, expected):
    assert config.load(Settings, None, [override]) == expected


def test_dashes_stand_for_underscores_in_names_and_for_themselves_in_values():
    settings = config.load(Settings, None, ["--top-items=5", "--out=my-runs/a-b"])
    assert settings == Settings(top_items=5, out=Path("my-runs/a-b"))
    parser = config.Parser("itrec try", "Try.")
    parser.add_class_arguments(Settings)
    parsed = parser.parse(["--top-items", "5", "--out", "my-runs/a-b"])
    assert config.pick(Settings, parsed) == settings


@pytest.mark.parametrize("text", ["modle.width=3", "width=3", "mode.width=3"])
def test_an_unknown_key_names_the_closest_and_all_valid_ones(text):
    told = refusal(text)
    assert f"no setting {text.partition('=')[0]} " in told
    assert "did you mean model.width?" in told
    assert all(leaf in told for leaf in LEAVES)
    assert "help" not in told
    assert "print" not in told


def test_an_unknown_key_inside_a_section_names_what_stands_beside_it():
    told = refusal("model.widht=3")
    assert "no setting model.widht (did you mean model.width?)" in told
    assert told.endswith("valid here: model.side, model.width")


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("raet: 3\n", "raet", "rate"),
        ("mdoel:\n  width: 3\n", "mdoel", "model"),
        ("model:\n  widht: 3\n", "model.widht", "model.width"),
        ("model.widht: 3\n", "model.widht", "model.width"),
    ],
)
def test_an_unknown_key_in_a_recipe_names_the_file_too(recipe, text, key, meant):
    path = recipe(text)
    told = refusal(recipe=path)
    assert told.startswith(f"{path}: there is no setting {key} (did you mean {meant}?)")
    assert "model.side" in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("rate=high", "rate must be a number, not 'high'"),
        ("model.width=3.5", "model.width must be a whole number, not '3.5'"),
        ("model.width=true", "model.width must be a whole number, not 'True'"),
        ("top_items=many", "top_items must be a whole number or null, not 'many'"),
        ("model.side=left", "model.side must be one of 'none', 'both', not 'left'"),
        ("fast=maybe", "fast must be true or false, not 'maybe'"),
        ("sizes=3", "sizes must be a list, as in [1, 2], not '3'"),
        ("rate=-1", "rate is -1.0, it must be above 0"),
    ],
)
def test_a_value_that_does_not_fit_says_what_would(override, told, recipe):
    assert refusal(override) == told
    key, value = override.split("=")
    section, _, name = key.rpartition(".")
    text = f"{section}:\n  {name}: {value}\n" if section else f"{name}: {value}\n"
    assert refusal(recipe=recipe(text)) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must hold settings"),
        ("- 1\n", "must hold settings"),
        ("just words", "must hold settings"),
        ("rate: 1\nmodel: [1\n", "line 3"),
        ("\trate: 1", "line 1"),
        ("model: 3\n", "model must be a section with settings (model.side, model.width), not 3"),
        ("model:\nrate: 1\n", "model must be a section"),
    ],
)
def test_a_recipe_that_is_no_recipe_is_named_with_what_is_wrong(recipe, text, told):
    path = recipe(text)
    said = refusal(recipe=path)
    assert str(path) in said
    assert told in said


def test_a_recipe_that_cannot_be_read_is_named(tmp_path):
    assert str(tmp_path / "absent.yaml") in refusal(recipe=tmp_path / "absent.yaml")
    assert str(tmp_path) in refusal(recipe=tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"rate: \xe9\n")
    assert "UTF-8" in refusal(recipe=tmp_path / "latin.yaml")


def test_a_word_that_belongs_to_no_setting_is_refused():
    parser = config.Parser("itrec try", "Try.")
    parser.add_class_arguments(Settings)
    with pytest.raises(ConfigError, match="'stray' belongs to no setting"):
        parser.parse(["--rate=1", "stray"])
    with pytest.raises(ConfigError, match="no setting rat "):  # no abbreviations
        parser.parse(["--rat=1"])


def test_a_stored_configuration_reads_back_as_itself(recipe):
    settings = Settings(Model(8, "none"), 1e-7, None, True, Path("a b/é"), (1,))
    assert config.load(Settings, recipe(config.to_yaml(settings))) == settings
    assert json.loads(json.dumps(config.to_dict(settings)))["out"] == "a b/é"


def test_the_printed_configuration_is_the_resolved_whole_and_reads_back(recipe, tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import test_config as t;"
        "p = t.config.Parser('itrec try', 'Try.'); p.add_config_file();"
        "p.add_class_arguments(t.Settings); p.parse(sys.argv[1:])"
    )
    arguments = ["--config", str(recipe("model:\n  width: 8\n")), "--rate=0.5", "--print-config"]
    done = subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = yaml.safe_load(done.stdout)
    assert printed == config.to_dict(Settings(Model(width=8), rate=0.5))
    (tmp_path / "printed.yaml").write_text(done.stdout)
    assert config.load(Settings, tmp_path / "printed.yaml") == Settings(Model(width=8), rate=0.5)


def test_the_field_docstrings_are_the_help():
    parser = config.Parser("itrec try", "Try.")
    parser.add_class_arguments(Settings)
    told = parser.format_help()
    for line in ("Width of the encoder.", "Learning rate.", "Number of items kept."):
        assert line.rstrip(".") in told


def test_field_names_are_the_dotted_leaves():
    assert config.field_names(Settings) == LEAVES


# ---------------------------------------------------------------------------- once


def test_a_recipe_is_read_once(recipe, monkeypatch):
    path = recipe("model:\n  width: 8\nrate: 0.5\n")
    opened = []
    read_text = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *a, **k: opened.append(self) or read_text(self, *a, **k)
    )
    assert config.load(Settings, path) == Settings(Model(width=8), rate=0.5)
    assert opened.count(path) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: 3\n", "name must be text, not '3'"),
        ("name: null\n", "name must be text, not 'null'"),
        ("nick: 1.5\n", "nick must be text or null, not '1.5'"),
        ("fast: 3\n", "fast must be true or false, not '3'"),
    ],
)
def test_a_recipe_says_text_where_text_is_meant(text, told, recipe):
    @dataclass(frozen=True)
    class Named:
        """Named."""

        name: str = ""
        """Name."""
        nick: str | None = None
        """Nickname."""

    parser = config.Parser("itrec try", "Try.")
    parser.add_config_file()
    parser.add_argument("--fast", action="store_true")
    parser.add_class_arguments(Named)
    with pytest.raises(ConfigError, match=re.escape(told)):
        parser.parse(["--config", str(recipe(text))])


def test_a_recipe_may_hold_flags_and_text_that_looks_like_something_else(recipe):
    parser = config.Parser("itrec try", "Try.")
    parser.add_config_file()
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--name", type=str)
    parser.add_argument("--limit", type=float)
    parser.add_argument("--space", type=dict)
    text = 'fast: true\nname: "[1, --x"\nlimit: .inf\nspace: {a.b: {uniform: [1e-4, 2]}}\n'
    parsed = parser.parse(["--config", str(recipe(text))])
    assert parsed.fast is True
    assert parsed.name == "[1, --x"
    assert parsed.limit == float("inf")
    assert parsed.space == {"a.b": {"uniform": [1e-4, 2]}}


# ---------------------------------------------------------------------------- marks


def test_a_setting_says_itself_when_it_may_change():
    @dataclass(frozen=True)
    class Own:
        """A model of one's own."""

        kind: str = "own"
        """Kind."""
        width: int = 8
        """Width."""
        noise: float = field(default=0.1, metadata=fields.CHANGEABLE)
        """Noise."""

    @dataclass(frozen=True)
    class Whole:
        """All of it."""

        model: Own = field(default_factory=Own, metadata={config.KINDS: {"own": Own}})
        """Model."""
        place: Model = field(default_factory=Model, metadata=fields.FREE)
        """Place."""
        name: str = field(default="", metadata=fields.FREE | fields.CHANGEABLE)
        """Name."""

    assert fields.marked(Whole(), fields.CHANGEABLE) == {"model.noise", "name"}
    assert fields.marked(Whole(), fields.FREE) == {"place.width", "place.side", "name"}
