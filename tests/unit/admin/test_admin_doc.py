"""docs/admin.md says which pages there are, and what stands in `/endpoints` and in the access log."""

import json
import re
from pathlib import Path
from typing import Any

from proxy.admin.access_log import line
from proxy.admin.server import PATHS
from tests.unit.admin.stage import Source, ask, serving
from tests.unit.test_access_log import entry

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "admin.md").read_text()


def described(first_column: str) -> list[str]:
    """The keys in the table whose first column has that head, in order."""
    (table,) = re.findall(rf"^\| {first_column} \|[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", DOCUMENT, re.MULTILINE)
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


def test_pages():
    pages = re.findall(r"^\| `(/[\w/]+)` \| (GET|POST) \| (.*?)(?:, see .*)? \|$", DOCUMENT, re.MULTILINE)
    assert {path: (method, answer) for path, method, answer in pages} == PATHS


def test_endpoints(run):
    async def scenario():
        async with serving(Source()) as server:
            shown: dict[str, Any] = json.loads((await ask(server, "/endpoints")).body)
            (example,) = json.loads(re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)[0]).values()
            for cluster in (shown["voting"], example):
                assert list(cluster) == described("key of a cluster")
                assert list(cluster["endpoints"][0]) == described("key of an endpoint")

    run(scenario())


def test_access_log():
    assert list(json.loads(line(entry(flag="timeout")))) == described("key")
