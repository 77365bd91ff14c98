"""Makes a tree of a template's tokens: if, with, range, define, and expressions.

A pipeline `a | f x` is the call `f x a`, so an expression is a literal, a chain of keys (`.Values.image`, `$.Values`)
or a call. What functions there are is `functions`' business. Variables and other keywords (block, break) are errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshctl.chart.functions import NAMES
from meshctl.chart.lexer import ChartError, Piece, Place, Token, pieces

_CONSTANTS: Final = {"true": True, "false": False}
_KEYWORDS: Final = ("if", "else", "end", "with", "range", "define", "block", "template", "break", "continue")
_END_OF_FILE: Final = "end of file"
_BAR: Final = Token("sign", "|")
_CLOSING: Final = Token("sign", ")")


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | int | bool


@dataclass(frozen=True, slots=True)
class Chain:
    """From the current value, or from the template's data ("$"), key by key."""

    from_root: bool
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Expression, ...]


Expression: TypeAlias = Literal | Chain | Call


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Output:
    place: Place
    value: Expression


@dataclass(frozen=True, slots=True)
class Block:
    """`keyword` is if, with or range."""

    place: Place
    keyword: str
    value: Expression
    body: Nodes
    otherwise: Nodes


Nodes: TypeAlias = "list[Text | Output | Block]"


@dataclass(frozen=True, slots=True)
class Template:
    """A file's own nodes, and the named templates that it defines."""

    nodes: Nodes
    defined: dict[str, Nodes]


def parse(file: str, template: str) -> Template:
    """Raises `ChartError`."""
    parser = _Parser(pieces(file, template))
    nodes, _ = parser.until(Place(file, 1), _END_OF_FILE)
    return Template(nodes, parser.defined)


class _Parser:
    """Goes through the pieces once, and into itself for what is between a block's beginning and its end."""

    def __init__(self, found: Iterable[Piece]) -> None:
        self._pieces = iter(found)
        self.defined: dict[str, Nodes] = {}

    def until(self, opened: Place, *ends: str) -> tuple[Nodes, _Words]:
        """The nodes up to the first action that begins with one of `ends`, and that action."""
        nodes: Nodes = []
        for piece in self._pieces:
            if piece.tokens is None:
                nodes.append(Text(piece.text))
                continue
            words = _Words(piece.place, piece.tokens)
            keyword = words.keyword()
            match keyword:
                case _ if keyword in ends:
                    return nodes, words
                case "":
                    nodes.append(Output(piece.place, words.rest()))
                case "if" | "with" | "range":
                    nodes.append(self._block(keyword, words))
                case "define":
                    self._define(words)
                case _:
                    raise ChartError(piece.place, f"{keyword} has no place here, or is not supported")
        if _END_OF_FILE not in ends:
            raise ChartError(opened, "has no end")
        return nodes, _Words(opened, ())

    def _block(self, keyword: str, words: _Words) -> Block:
        place, value = words.place, words.rest()
        body, end = self.until(place, "else", "end")
        otherwise: Nodes = []
        if end.taken == "else":
            if keyword == "if" and end.keyword() == "if":
                # `else if` has no end of its own.
                return Block(place, keyword, value, body, [self._block("if", end)])
            end.finish()
            otherwise, end = self.until(place, "end")
        end.finish()
        return Block(place, keyword, value, body, otherwise)

    def _define(self, words: _Words) -> None:
        name = words.name()
        if name in self.defined:
            raise ChartError(words.place, f"{name} is defined twice")
        self.defined[name], end = self.until(words.place, "end")
        end.finish()


class _Words:
    """The tokens of one action, taken from the left."""

    def __init__(self, place: Place, tokens: tuple[Token, ...]) -> None:
        self.place = place
        self.taken = ""
        self._tokens = list(tokens)

    def finish(self) -> None:
        if self._tokens:
            raise ChartError(self.place, f"not expected here: {self._tokens[0].value}")

    def keyword(self) -> str:
        """Takes the first word, if there is one, unless it is a function's or a constant's name."""
        if self._tokens and self._tokens[0].kind == "word" and self._tokens[0].value in _KEYWORDS:
            self.taken = self._tokens.pop(0).value
            return self.taken
        return ""

    def name(self) -> str:
        """The one text that is left."""
        if len(self._tokens) != 1 or self._tokens[0].kind != "text":
            raise ChartError(self.place, "define needs a name in quotes, and no more")
        return self._tokens.pop().value

    def rest(self) -> Expression:
        value = self._pipeline()
        self.finish()
        return value

    def _pipeline(self) -> Expression:
        value = self._command(None)
        while self._next_is(_BAR):
            value = self._command(value)
        return value

    def _command(self, piped: Expression | None) -> Expression:
        if not self._tokens:
            raise ChartError(self.place, "a value is missing")
        first = self._tokens.pop(0)
        if first.kind == "word" and first.value not in _CONSTANTS:
            return self._call(first.value, (*self._operands(), *(() if piped is None else (piped,))))
        value = self._operand(first)
        if piped is not None or self._operands():
            raise ChartError(self.place, f"{first.value} is not a function")
        return value

    def _operands(self) -> list[Expression]:
        found = []
        while self._tokens and self._tokens[0] not in (_BAR, _CLOSING):
            found.append(self._operand(self._tokens.pop(0)))
        return found

    def _operand(self, token: Token) -> Expression:
        match token.kind:
            case "text":
                return Literal(token.value)
            case "number":
                return Literal(int(token.value))
            case "chain":
                return Chain(token.value.startswith("$"), tuple(filter(None, token.value.lstrip("$").split("."))))
            case "word" if token.value in _CONSTANTS:
                return Literal(_CONSTANTS[token.value])
            case "word":
                return self._call(token.value, ())
        if token.value != "(":
            raise ChartError(self.place, f"not expected here: {token.value}")
        value = self._pipeline()
        if not self._next_is(_CLOSING):
            raise ChartError(self.place, "a parenthesis is not closed")
        return value

    def _call(self, name: str, arguments: tuple[Expression, ...]) -> Call:
        if name not in NAMES:
            raise ChartError(self.place, f"the function {name} is not supported")
        return Call(name, arguments)

    def _next_is(self, sign: Token) -> bool:
        if self._tokens and self._tokens[0] == sign:
            del self._tokens[0]
            return True
        return False
