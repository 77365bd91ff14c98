"""Walks a template's tree and gives its text.

Stricter than Go: a key that is not there is an error, and so is output that would be nothing. What counts as false is
what counts so there: nothing, false, 0, empty text, an empty list or map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshctl.chart.functions import FUNCTIONS, INCLUDE, printed
from meshctl.chart.lexer import ChartError, Place
from meshctl.chart.parser import Block, Call, Chain, Expression, Literal, Nodes, Output, Text

_DEEPEST = 20  # includes within includes


@dataclass(frozen=True, slots=True)
class Scope:
    """`dot` is the current value, `root` what the template was given."""

    dot: Any
    root: Any
    depth: int


class Evaluator:
    """Renders with the named templates of a chart."""

    def __init__(self, named: Mapping[str, Nodes]) -> None:
        self._named = named

    def render(self, nodes: Nodes, data: Any, depth: int = 0) -> str:
        """The text of `nodes`, with `data` as "." and "$". Raises `ChartError`."""
        return "".join(self._texts(nodes, Scope(data, data, depth)))

    def _texts(self, nodes: Nodes, scope: Scope) -> Iterator[str]:
        for node in nodes:
            match node:
                case Text():
                    yield node.text
                case Output():
                    yield _explained(node.place, printed, self._value(node.value, scope, node.place))
                case Block():
                    yield from self._block(node, scope)

    def _block(self, node: Block, scope: Scope) -> Iterator[str]:
        value = self._value(node.value, scope, node.place)
        if not value:
            yield from self._texts(node.otherwise, scope)
        elif node.keyword == "if":
            yield from self._texts(node.body, scope)
        elif node.keyword == "with":
            yield from self._texts(node.body, replace(scope, dot=value))
        else:
            for item in _members(node.place, value):
                yield from self._texts(node.body, replace(scope, dot=item))

    def _value(self, expression: Expression, scope: Scope, place: Place) -> Any:
        match expression:
            case Literal():
                return expression.value
            case Chain():
                return _looked_up(expression, scope, place)
            case Call():
                arguments = [self._value(each, scope, place) for each in expression.arguments]
                if expression.function == INCLUDE:
                    return self._included(arguments, scope, place)
                return _explained(place, FUNCTIONS[expression.function], *arguments, name=expression.function)

    def _included(self, arguments: Sequence[Any], scope: Scope, place: Place) -> str:
        if len(arguments) != 2 or arguments[0] not in self._named:
            raise ChartError(place, "include needs the name of a template and its data")
        if scope.depth == _DEEPEST:
            raise ChartError(place, f"{arguments[0]} includes itself")
        return self.render(self._named[arguments[0]], arguments[1], scope.depth + 1)


def _looked_up(chain: Chain, scope: Scope, place: Place) -> Any:
    value = scope.root if chain.from_root else scope.dot
    for number, key in enumerate(chain.keys, 1):
        if not isinstance(value, Mapping) or key not in value:
            raise ChartError(place, f"there is no {'$' * chain.from_root}.{'.'.join(chain.keys[:number])}")
        value = value[key]
    return value


def _members(place: Place, value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        return (value[key] for key in sorted(value))
    if isinstance(value, list):
        return iter(value)
    raise ChartError(place, "range needs a list or a map")


def _explained(place: Place, function: Any, *arguments: Any, name: str = "output") -> Any:
    try:
        return function(*arguments)
    except (ValueError, TypeError) as error:
        raise ChartError(place, f"{name}: {error}") from error
