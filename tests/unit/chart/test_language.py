"""Templates that are broken, or use what is outside of the part of Go's language that is read: never silently wrong."""

from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from meshctl.chart.evaluator import Evaluator
from meshctl.chart.functions import to_yaml
from meshctl.chart.lexer import ChartError
from meshctl.chart.parser import parse
from tests.unit.chart.samples import DELICATE

DATA: dict[str, Any] = {"Values": {"word": "word", "none": None, "large": 1_000_000, "list": [1], "map": {"a": 1}}}


def text(template: str) -> str:
    parsed = parse("a.yaml", template)
    return Evaluator(parsed.defined).render(parsed.nodes, DATA)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ if .Values.word }}", "has no end"),
        ("{{ if .Values.word }}{{ else }}", "has no end"),
        ('{{ define "x" }}', "has no end"),
        ("{{ end }}", "end has no place here"),
        ("{{ else }}", "else has no place here"),
        ("{{ if .Values.word }}{{ else }}{{ else }}{{ end }}", "else has no place here"),
        ("{{ with .Values.word }}{{ else with .Values.word }}{{ end }}", "not expected here"),
        ("{{ range .Values.list }}{{ break }}{{ end }}", "break has no place here"),
        ('{{ template "x" . }}', "template has no place here"),
        ('{{ block "x" . }}{{ end }}', "block has no place here"),
        ("{{ .Values.word", "not closed"),
        ("{{ }}", "a value is missing"),
        ("{{ .Values.word | }}", "a value is missing"),
        ("{{ (.Values.word }}", "a parenthesis is not closed"),
        ("{{ .Values.word) }}", "not expected here: )"),
        ("{{ $x := .Values.word }}", "not understood"),
        ("{{ range $key, $value := .Values.map }}{{ end }}", "not understood"),
        ("{{ (.Values).word }}", "not understood"),
        ("{{ -1 }}", "not understood"),
        ("{{ 1.5 }}", "not understood"),
        ("{{ 'a' }}", "not understood"),
        ('{{ "\\x41" }}', "not understood"),
        ("{{-.Values.word}}", "not understood"),
        ("{{ .Values.word-}}", "not understood"),
        ('{{ .Values.word "x" }}', "is not a function"),
        ('{{ "x" | .Values.word }}', "is not a function"),
        ("{{ upper .Values.word }}", "the function upper is not supported"),
        ("{{ if false }}{{ nil }}{{ end }}", "the function nil is not supported"),
        ('{{ define "x" }}{{ end }}{{ define "x" }}{{ end }}', "x is defined twice"),
        ("{{ define x }}{{ end }}", "define needs a name in quotes"),
        ('{{ include "x" . }}', "include needs the name of a template"),
        ('{{ define "x" }}{{ include "x" . }}{{ end }}{{ include "x" . }}', "includes itself"),
        ("{{ .Values.wrod }}", "there is no .Values.wrod"),
        ("{{ if .Values.wrod }}{{ end }}", "there is no .Values.wrod"),
        ("{{ with .Values.map }}{{ $.a }}{{ end }}", "there is no $.a"),
        ("{{ .Values.word.length }}", "there is no .Values.word.length"),
        ("{{ .Values.none }}", "output: there is nothing to write"),
        ("{{ .Values.map }}", "has no plain text"),
        ("{{ .Values.large }}", "has no plain text"),
        ("{{ quote .Values.none }}", "quote: there is nothing to write"),
        ('{{ quote "a" "b" }}', "quote: "),
        ("{{ eq 1 1 }}", "eq: only texts are compared"),
        ('{{ nindent "2" .Values.word }}', "nindent: needs a number and a text"),
        ("{{ range .Values.word }}{{ end }}", "range needs a list or a map"),
    ],
)
def test_what_is_broken_or_not_supported_is_an_error_with_its_line(template: str, problem: str) -> None:
    with pytest.raises(ChartError) as raised:
        text(f"first: {{{{ .Values.word }}}}\n\n{template}")
    assert str(raised.value).startswith("a.yaml:3: ")
    assert problem in str(raised.value)


def test_an_error_within_an_included_template_names_its_own_line() -> None:
    with pytest.raises(ChartError, match=r"^a\.yaml:2: there is no \.Values\.wrod"):
        text('{{ define "x" }}\n{{ .Values.wrod }}{{ end }}\n\n\n{{ include "x" . }}')


@pytest.mark.parametrize(
    "said", [*DELICATE, "=", "plain", "a/b.c", "true", "null", "12", "1.0", "- x", "{}", "a\tb", "x\n", "\n"]
)
def test_text_stays_text_for_every_reader_of_yaml(said: str) -> None:
    """PyYAML reads version 1.1 and ruamel.yaml 1.2; kubectl's reader is between the two."""
    written = to_yaml({"key": said, "list": [said]}) + "\n"
    for read in (yaml.safe_load, YAML(typ="safe", pure=True).load):
        assert read(written) == {"key": said, "list": [said]}
