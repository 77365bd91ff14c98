"""Renders the chart (deploy/chart, `files` here) without Helm, into the objects that Helm would make of it.

The templates are Go's text/template, of which this reads a part (docs/adr/0008-chart-without-helm.md lists it): what
lies outside is an error with file and line, never a guess. `lexer` cuts a template into tokens, `parser` makes a tree
of them, `evaluator` walks it with `functions`; `values` checks what the user sets, `render` puts all of it together.
"""
