"""docs/configuration.md says of every key what the code does."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import proxy.config
from proxy import overrides
from proxy.config import Config, parse
from proxy.config_listeners import SERVER_SPEAKS_FIRST

DOCS = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_every_key_is_documented_with_its_default() -> None:
    text = DOCS.read_text()
    documented = dict(re.findall(r"^\| `([\w.\[\]]+)` \| [^|]+ \| ([^|]+) \|", text, flags=re.MULTILINE))
    expected = dict(keys_with_defaults(Config, ""))
    assert documented == expected


def keys_with_defaults(cls: type, path: str) -> Iterator[tuple[str, str]]:
    """(key path, default as the documentation writes it) of every key that holds a single value."""
    for item in dataclasses.fields(cls):
        below = re.search(r"\b([A-Z]\w+(?:Config|Endpoint))\b", str(item.type))
        if below:
            many = "[]" if str(item.type).startswith("tuple") else ""
            yield from keys_with_defaults(vars(proxy.config)[below[1]], f"{path}{item.name}{many}.")
        else:
            yield f"{path}{item.name}", written_default(item)


def written_default(item: "dataclasses.Field[Any]") -> str:
    if item.metadata["derive"]:
        return "depends"
    if item.default is dataclasses.MISSING:
        return "required"
    if item.default in (None, "", ()):
        return "none"
    return f"`{item.default:g}`" if isinstance(item.default, float) else f"`{item.default}`"


def test_the_opaque_ports_in_the_documentation_are_the_default() -> None:
    (written,) = re.findall(r"By default ([\d, ]+ and \d+), where", DOCS.read_text())
    assert tuple(map(int, re.findall(r"\d+", written))) == SERVER_SPEAKS_FIRST


def test_every_example_in_the_documentation_is_right() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    whole = [content for content in examples if re.search(r"(?m)^listeners:", content)]
    assert len(whole) >= 2
    for content in whole:
        parse(content)


def test_every_variable_is_documented() -> None:
    documented = set(re.findall(r"`(MESHCTL_\w+)`", DOCS.read_text()))
    assert set(overrides.VARIABLES) <= documented
