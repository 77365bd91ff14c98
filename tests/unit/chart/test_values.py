"""Values: what may be set, how --set is read, and that every error names its key."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from meshctl.chart.values import ValuesError, check, defaults, merged, read, setting, without_nulls
from tests.support.helm import CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def test_the_defaults_are_right() -> None:
    check(defaults())


def _objects(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    if "properties" in schema:
        yield path, schema, values
        for name, each in schema["properties"].items():
            if name in values:
                yield from _objects(each, values[name], f"{path}.{name}")


def test_the_schema_knows_every_key_of_the_defaults_and_no_other() -> None:
    """And asks for each, so that none can be taken away with null: templates count on all of them."""
    for path, schema, values in _objects(SCHEMA, defaults()):
        optional = {"": {"global"}, ".controller.resources": {"claims", "requests", "limits"}}.get(path, set())
        assert set(schema["properties"]) - optional == set(values) - optional, path
        assert set(schema.get("required", ())) == set(values) - optional, path
        assert schema["additionalProperties"] is False, path


def test_every_value_is_explained_in_the_file() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            before, inside = lines[number - 1], lines[number + 1] if number + 1 < len(lines) else ""
            assert before.startswith("#") or inside.startswith("  #"), line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ha=true", {"ha": True}),
        ("a.b=false", {"a": {"b": False}}),
        ("a=null", {"a": None}),
        ("a=7", {"a": 7}),
        ("a=-7", {"a": -7}),
        ("a=007", {"a": "007"}),
        ("a=1.10", {"a": "1.10"}),
        ("a=1e3", {"a": "1e3"}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=80,90", {"a": "80,90"}),
        ('a="7"', {"a": "7"}),
        ("a=[b, 1]", {"a": ["b", 1]}),
        ("a={b: c}", {"a": {"b": "c"}}),
        (r"a.example\.com/b=c", {"a": {"example.com/b": "c"}}),
    ],
)
def test_a_setting_is_a_key_and_a_value(text: str, value: dict[str, Any]) -> None:
    assert setting(text) == value


@pytest.mark.parametrize("text", ["", "ha", "=x", ".a=x", "a..b=x", "a.=x", "a=[", 'a="'])
def test_a_setting_that_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(ValuesError):
        setting(text)


def test_maps_are_merged_and_lists_are_not() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merged(base, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_null_is_as_if_the_key_were_not_there() -> None:
    assert without_nulls({"a": None, "b": {"c": None, "d": [None]}, "e": False}) == {"b": {"d": [None]}, "e": False}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"podMonitor": {"intervl": "3s"}}, "podMonitor.intervl: unknown key; did you mean interval?"),
        ({"ha": "yes"}, "ha: must be true or false, not 'yes'"),
        ({"image": {"tag": 1}}, "image.tag: must be a tag, in quotes if it is a number, not 1"),
        ({"namespaces": ["a", "B"]}, "namespaces[1]: must be a namespace's name, not 'B'"),
        ({"webhook": {"failurePolicy": "fail"}}, "webhook.failurePolicy: must be one of Ignore, Fail, not 'fail'"),
        ({"webhook": None}, "webhook: must be a mapping, not nothing"),
        ({"namespaceOnly": True, "namespaces": ["a"]}, "namespaces: must be empty with namespaceOnly, not a list"),
        (
            {"webhook": {"certManager": {"enabled": True}}},
            "webhook.certManager.enabled: must be false unless webhook.certificates is provided, not the truth value",
        ),
        (
            {"controller": {"resources": {"limits": {"cpu": "much"}}}},
            "controller.resources.limits.cpu: must be a quantity",
        ),
    ],
)
def test_an_error_names_the_key_and_says_what_belongs_there(given: dict[str, Any], error: str) -> None:
    with pytest.raises(ValuesError) as raised:
        check(merged(defaults(), given))
    (line,) = raised.value.errors
    assert line.startswith(error)


def test_all_errors_are_found_at_once() -> None:
    with pytest.raises(ValuesError) as raised:
        check(merged(defaults(), {"ha": 1, "logLevel": "loud", "x": 1}))
    assert len(raised.value.errors) == 3


def test_a_file_of_values_has_to_be_a_mapping_with_each_key_once() -> None:
    assert read("") == {}
    for text in ("- a", "ha: true\nha: false", "a: ["):
        with pytest.raises(ValuesError):
            read(text)
