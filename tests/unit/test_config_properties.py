"""Whatever it is given, `parse` returns a configuration or refuses it with errors, and does nothing else."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config import Config, ConfigError, parse
from tests.unit.test_config import LARGE

WORDS = {word for word in re.findall(r"\w+", LARGE) if not word.isdigit()}
KEYS = [*sorted(WORDS), "<<", "", "zz", "a.b[0]"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*KEYS, "127.0.0.1:4140", "[::1]:0", "-", "/", "5s"])
)
STRUCTURES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


def parsed_or_refused(content: str) -> Config | None:
    """Anything else than a Config or a ConfigError with one-line errors fails the test that calls this."""
    try:
        config = parse(content)
    except ConfigError as error:
        assert error.errors
        assert all(re.match(r"[^\n]+?: [^\n]+\Z", line) for line in error.errors), error.errors
        return None
    assert isinstance(config, Config)
    assert parse(json.dumps(config.as_dict())) == config
    return config


@given(STRUCTURES)
def test_any_structure_is_parsed_or_refused(structure: object) -> None:
    parsed_or_refused(yaml.safe_dump(structure))


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%#?,<~0\n\t \\.x@`\x00\ud800é"), max_size=40))
@example("&a [*a]")
@example('"\\U00110000"')
@example("%YAML 9.9\n---\na")
@example("!!int x")
@example("!!binary x")
@example("!!timestamp 2001-99-99")
@example("? ? ? a")
def test_any_text_is_parsed_or_refused(content: str) -> None:
    parsed_or_refused(content)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a tree of dicts and lists."""
    if path:
        yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for step, value in inner:
        yield from places(value, (*path, step))


@given(st.sampled_from(list(places(yaml.safe_load(LARGE)))), STRUCTURES)
def test_one_value_replaced_by_anything_is_parsed_or_refused(path: tuple[Any, ...], value: object) -> None:
    tree = yaml.safe_load(LARGE)
    inner = tree
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    parsed_or_refused(yaml.safe_dump(tree))
