"""Sections that hold one of several classes: ours, and those of other people."""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from itrec_dist import config
from itrec_dist.config.registry import Registry
from itrec_dist.errors import ConfigError


@pytest.fixture
def recipe(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@dataclass(frozen=True)
class Cat:
    """A cat."""

    kind: Literal["cat"] = "cat"
    """Kind of pet."""
    lives: int = 9
    """Lives."""


@dataclass(frozen=True)
class Dog:
    """A dog."""

    kind: Literal["dog"] = "dog"
    """Kind of pet."""
    barks: float = 0.5
    """Barks per minute."""


@dataclass(frozen=True)
class Home:
    """A home."""

    pet: Cat | Dog = field(default_factory=Cat, metadata={config.KINDS: {"cat": Cat, "dog": Dog}})
    """The pet."""
    rooms: int = 3
    """Rooms."""


def test_the_kind_says_which_settings_hold(recipe):
    assert config.load(Home) == Home(Cat())
    assert config.load(Home, None, ["pet.lives=7"]) == Home(Cat(lives=7))
    assert config.load(Home, None, ["pet.kind=dog", "pet.barks=2"]) == Home(Dog(barks=2.0))
    path = recipe("pet:\n  kind: dog\n  barks: 3.0\n")
    assert config.load(Home, path, ["pet.barks=4", "rooms=1"]) == Home(Dog(barks=4.0), rooms=1)
    for home in (Home(Dog(barks=1.0)), Home(Cat(lives=2), 5)):
        path.write_text(config.to_yaml(home))
        assert config.load(Home, path) == home


@pytest.mark.parametrize(
    ("text", "overrides", "told"),
    [
        ("", ["pet.kind=cow"], "there is no pet.kind 'cow'; there are: cat, dog"),
        ("pet:\n  kind: cow\n", [], "there is no pet.kind 'cow'; there are: cat, dog"),
        ("", ["pet.barks=1"], "there is no setting pet.barks"),
        ("pet:\n  kind: dog\n  lives: 9\n", [], "there is no setting pet.lives"),
        ("pet:\n  kind: dog\n  claws: 9\n", ["pet.kind=cat"], "there is no setting pet.claws"),
    ],
)
def test_settings_of_another_kind_are_refused(text, overrides, told, recipe):
    path = recipe(text) if text else None
    with pytest.raises(ConfigError, match=re.escape(told)):
        config.load(Home, path, overrides)


def test_the_leaves_of_every_kind_are_field_names():
    assert config.field_names(Home) == ["pet.kind", "pet.lives", "pet.barks", "rooms"]


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("", ["pet=dog"], Home(Dog())),
        ("", ["pet=dog", "pet.barks=2"], Home(Dog(barks=2.0))),
        ("pet: dog\n", [], Home(Dog())),
        ("pet: dog\n", ["pet.barks=2"], Home(Dog(barks=2.0))),
        ("pet: dog\n", ["pet=cat"], Home(Cat())),
        ("pet:\n  kind: dog\n", ["pet.kind=cat", "pet.lives=3"], Home(Cat(lives=3))),
        ("pet.kind: dog\npet.barks: 3\n", [], Home(Dog(barks=3.0))),
        ("pet.kind: dog\npet.barks: 3\nrooms: 2\n", ["pet.kind=cat"], Home(Cat(), 2)),
        ("pet:\n  kind: dog\n  barks: 3\n", ["pet=cat", "pet.lives=2"], Home(Cat(lives=2))),
        ("", ["pet=dog", "pet=cat"], Home(Cat())),
    ],
)
def test_a_kind_can_stand_for_its_section_and_the_last_one_counts(
    text, overrides, expected, recipe
):
    assert config.load(Home, recipe(text) if text else None, overrides) == expected


@dataclass(frozen=True)
class Kennel:
    """A home whose pet follows from its owner."""

    owner: Cat | Dog = field(default_factory=Cat, metadata={config.KINDS: {"cat": Cat, "dog": Dog}})
    """Who owns it."""
    pet: Cat | Dog = field(default=None, metadata={config.KINDS: {"cat": Cat, "dog": Dog}})
    """The pet; null takes the owner's opposite."""
    noise: str | None = None
    """Its noise; null takes that of the owner."""

    @classmethod
    def following(cls, chosen):
        is_cat = chosen["owner"] is Cat
        return {"pet.kind": "dog" if is_cat else "cat", "noise": "meow" if is_cat else "woof"}


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("", [], Kennel(Cat(), Dog(), "meow")),
        ("owner: dog\n", [], Kennel(Dog(), Cat(), "woof")),
        ("owner: dog\npet: null\nnoise: null\n", [], Kennel(Dog(), Cat(), "woof")),
        ("owner: dog\n", ["pet=dog", "noise=silence"], Kennel(Dog(), Dog(), "silence")),
        ("pet: cat\n", ["pet=null"], Kennel(Cat(), Dog(), "meow")),
    ],
)
def test_a_default_can_follow_from_a_kind_and_is_printed(text, overrides, expected, recipe, capsys):
    path = recipe(text or "{}")
    assert config.load(Kennel, path, overrides) == expected
    with pytest.raises(SystemExit):
        config.load(Kennel, path, [*overrides, "print-config"])
    assert yaml.safe_load(capsys.readouterr().out) == config.to_dict(expected)


OWN_PETS = """
from dataclasses import dataclass
from typing import Literal

@dataclass(frozen=True)
class Fish:
    '''A fish.'''
    kind: Literal["fish"] = "fish"
    '''Kind.'''
    fins: int = 4
    '''Fins.'''

@dataclass(frozen=True)
class Bird:
    '''A bird.'''
    kind: str
    '''Kind.'''
    wings: int = 2
    '''Wings.'''

@dataclass(frozen=True)
class Stone:
    weight: int = 1

class Wind:
    pass
"""


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """A configuration whose pets come from a registry, and a module with pets of a user's own."""
    (tmp_path / "own_pets.py").write_text(OWN_PETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_pets", raising=False)
    pets = Registry("pet", "itrec_dist.losses", group="none.such", suffix="None")

    @dataclass(frozen=True)
    class Own:
        """A home."""

        pet: Cat = field(default_factory=Cat, metadata={config.KINDS: pets})
        """The pet."""

    return Own


@pytest.mark.parametrize("kind", ["own_pets:Fish", "own_pets:Bird"])
def test_a_class_of_ones_own_is_chosen_stored_and_read_again(own_home, kind, recipe, capsys):
    setting = "fins" if "Fish" in kind else "wings"
    home = config.load(own_home, None, [f"pet.kind={kind}", f"pet.{setting}=7"])
    assert type(home.pet).__name__ == kind.partition(":")[2]
    assert getattr(home.pet, setting) == 7
    assert config.to_dict(home)["pet"] == {"kind": kind, setting: 7}
    assert config.load(own_home, recipe(config.to_yaml(home))) == home
    for flags in ("", "=skip_default"):
        with pytest.raises(SystemExit):
            config.load(own_home, None, [f"pet={kind}", f"pet.{setting}=7", f"print-config{flags}"])
        assert config.load(own_home, recipe(capsys.readouterr().out)) == home


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("own_pets:Stone", "a dataclass without a field `kind`"),
        ("own_pets:Wind", "is not a dataclass"),
        ("own_pets:Cloud", "cannot be imported from own_pets:Cloud"),
        ("no_such_pets:Cloud", "cannot be imported from no_such_pets:Cloud"),
        ("fish", "or one of your own as module:Class"),
    ],
)
def test_a_class_of_ones_own_that_cannot_be_chosen_says_why(own_home, kind, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        config.load(own_home, None, [f"pet={kind}"])
