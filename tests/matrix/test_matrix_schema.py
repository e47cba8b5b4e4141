"""The schema for editors agrees with the reader where it can."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from lab import tables
from lab.matrix.schema import schema

ROOT = Path(__file__).parent.parent.parent
FIXTURES = ROOT / "tests/fixtures/matrix"
SCHEMA = schema(tables.load(images=ROOT / "images"))
# Wrong in ways that no schema can say: they need the file system, the text, or the product. (yaml itself refuses some.)
BEYOND = {"duplicate-keys", "empty-product", "files", "include-exclude-expect", "too-large", "not-served"}
NO_YAML = {"tab", "not-yaml", "two-documents", "exploding"}
WRONG = [path for path in sorted(FIXTURES.glob("*.yaml")) if path.stem not in BEYOND | NO_YAML]


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "matrices").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.BaseLoader], ids=["typed", "text"])
def test_every_matrix_of_ours_is_valid(path, loader):
    jsonschema.validate(yaml.load(path.read_text(), Loader=loader), SCHEMA)


AMPLIFY = {"$defs": SCHEMA["$defs"], "$ref": "#/$defs/amplify"}


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("none", True),
        ("{load: 4, name: busy}", True),
        ("{slow: {touch: 0.3}, align: {compiler: mcb-core.c}}", True),
        ("on", False),
        ("{}", False),
        ("{name: x}", False),
        ("{load: 65}", False),
        ("{slow: {}}", False),
        ("{slow: {touch: 11}}", False),
        ("{align: {/bin/touch: x}}", False),
        ("{clock: 2}", False),
    ],
)
def test_the_schema_knows_what_makes_races_likelier(written, right):
    found = list(jsonschema.Draft202012Validator(AMPLIFY).iter_errors(yaml.safe_load(written)))
    assert (found == []) is right


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_wrong_matrix_is_not(path):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)
