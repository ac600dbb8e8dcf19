"""`itrec schema`: what it allows and refuses, against the recipes and the parser itself."""

import json

import jsonschema
import pytest

import itrec_dist
from itrec_dist.config import recipes
from itrec_dist.errors import ConfigError
from tests.unit.cli.test_jobs import EVERY, RECIPES, SWEEPS


@pytest.fixture(scope="module")
def checker(itrec):
    """Command -> validator of its recipes, by the schema that the command prints."""
    made = {}

    def of(command):
        if command not in made:
            code, out, err = itrec("schema", command)
            assert code == 0, err
            schema = json.loads(out)
            jsonschema.Draft202012Validator.check_schema(schema)
            made[command] = jsonschema.Draft202012Validator(schema)
        return made[command]

    return of


def test_the_shipped_recipes_are_valid(checker):
    assert len(EVERY) > 20
    for command, having in (("train", RECIPES), ("sweep", SWEEPS)):
        for path in having:
            content = recipes.read(str(path)).content
            wrong = [error.message for error in checker(command).iter_errors(content)]
            assert not wrong, f"{path.name}: {wrong}"
            assert not checker(command).is_valid(content | {"modle": {}}), "a wrong key"


@pytest.mark.parametrize(
    ("recipe", "is_valid"),
    [
        ({}, True),
        ({"model": "sasrec"}, True),
        ({"model": "nope"}, False),
        ({"model": {"kind": "my_parts:MeanConfig", "anything": 1}}, True),
        ({"model": {"kind": "sasrec", "width": 32}}, True),
        ({"model": {"kind": "sasrec", "widht": 32}}, False),
        ({"model": {"kind": "sasrec", "width": "wide"}}, False),
        ({"model": {"kind": "gru4rec", "num_heads": 2}}, False),  # a setting of another kind
        ({"model": {"num_heads": 2}}, True),  # an option may say which kind
        ({"model": {"nun_heads": 2}}, False),
        ({"model.width": 32}, True),
        ({"loss": None}, True),
        ({"loss": {"kind": "softmax", "num_negatives": 8}}, False),
        ({"loss": {"kind": "sampled_softmax", "num_negatives": 8}}, True),
        ({"training": {"epochs": 2.5}}, False),
        ({"optimizer": {"learning_rate": 1}}, True),
        ({"checkpoints": {"steps": None}}, True),
        ({"evaluation": {"cutoffs": [1, 10], "seen": "input"}}, True),
        ({"evaluation": {"seen": "everything"}}, False),
    ],
)
def test_settings_of_a_run(recipe, is_valid, checker):
    assert checker("train").is_valid(recipe) == is_valid


def test_the_schema_of_windows_knows_every_task_and_kind_of_samples(checker):
    valid = checker("window").is_valid
    assert valid({"source": "table", "columns": {"user": "customer"}, "protocol": "global_time"})
    assert valid({"samples": "histories", "protocol": "leave_one_out", "max_length": 50})
    assert valid({"task": "ratings", "protocol": "ratings_by_time", "scale": [1, 5]})
    assert not valid({"protocol": "leave_two_out"})
    assert not valid({"columns": {"usre": "customer"}})


def test_a_command_without_recipes_has_no_schema(itrec):
    code, _, err = itrec("schema", "similar")
    assert code == 2
    assert "train" in err


def test_the_library_has_the_schema_too(checker):
    assert itrec_dist.schema("window") == checker("window").schema
    with pytest.raises(ConfigError, match="has no recipes: give one of train, window"):
        itrec_dist.schema("report")
