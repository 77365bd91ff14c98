"""The functions of templates: those of Go's text/template, Sprig and Helm that the chart uses.

Plain functions from values to a value; a wrong argument is a ValueError, also where Go would go on with something that
nobody wants in a manifest (`<no value>`, 1e+06, a map in Go's notation).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*").fullmatch
_WORDS_OF_YAML: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_QUOTED: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_SAME_AS_IN_GO: Final = 10**6  # Go writes numbers from here on with an exponent


def printed(value: Any) -> str:
    """A value as an action's output. Raises ValueError for what has no plain text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and abs(value) < _SAME_AS_IN_GO:
        text = f"{value:g}"
        if float(text) == value and "e" not in text:
            return text
    raise ValueError(f"{value!r:.40} has no plain text" if value is not None else "there is nothing to write")


def to_yaml(value: Any, *, sort_keys: bool = True) -> str:
    """YAML in which nobody takes a text for something else, whichever version of YAML they read."""
    text = yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=10**6, sort_keys=sort_keys)
    return text.removesuffix("\n").removesuffix("\n...")


def _all(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _any(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _default(fallback: Any, value: Any) -> Any:
    return value or fallback


def _eq(one: Any, other: Any) -> bool:
    if not (isinstance(one, str) and isinstance(other, str)):
        raise ValueError("only texts are compared")
    return one == other


def _list(*values: Any) -> list[Any]:
    return list(values)


def _nindent(width: Any, text: Any) -> str:
    if not isinstance(width, int) or not isinstance(text, str):
        raise ValueError("needs a number and a text")
    return "\n" + " " * width + text.replace("\n", "\n" + " " * width)


def _not(value: Any) -> bool:
    return not value


def _quote(value: Any) -> str:
    text = printed(value)
    if any(not letter.isprintable() and letter not in _QUOTED for letter in text):
        raise ValueError(f"{text!r:.40} has letters that cannot be printed")
    return f'"{"".join(_QUOTED.get(letter, letter) for letter in text)}"'


def _sha256sum(text: Any) -> str:
    return hashlib.sha256(printed(text).encode()).hexdigest()


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = _PLAIN(text) and text.lower() not in _WORDS_OF_YAML
    style = None if plain else "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "and": _all,
    "default": _default,
    "eq": _eq,
    "list": _list,
    "nindent": _nindent,
    "not": _not,
    "or": _any,
    "quote": _quote,
    "sha256sum": _sha256sum,
    "toYaml": to_yaml,
}
INCLUDE: Final = "include"  # the evaluator's own: it needs the templates
NAMES: Final = frozenset({*FUNCTIONS, INCLUDE})
