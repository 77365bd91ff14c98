"""The corpus: HTTP/1 requests as bytes, by theme, each with what a proxy has to do with it."""

from tests.http1.corpus import chunks, codings, connections, controls, fields, lengths, limits, request_lines
from tests.http1.corpus.entry import Entry, Verdict

THEMES = (controls, lengths, codings, chunks, fields, request_lines, connections, limits)
ENTRIES: tuple[Entry, ...] = tuple(entry for theme in THEMES for entry in theme.ENTRIES)
BY_NAME = {entry.name: entry for entry in ENTRIES}

__all__ = ["BY_NAME", "ENTRIES", "THEMES", "Entry", "Verdict"]
