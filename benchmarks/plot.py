"""The plot of the results, written as SVG by hand: bars of CPU time per call, one panel per shape of load."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks import results
from benchmarks.peers import PEERS
from benchmarks.results import Results, Spread

CASES = ("32 B, 1x1", "32 B, 4x32", "32 B, 10x100")
PANEL_TITLES = {
    "32 B, 1x1": "one call in flight",
    "32 B, 4x32": "4 connections x 32 calls",
    "32 B, 10x100": "10 connections x 100 calls",
}
OURS = "meshctl"

LABELS_PX, BARS_PX, VALUES_PX, GAP_PX, MARGIN_PX = 88, 132, 48, 16, 20
ROW_PX, BAR_PX, TOP_PX, BOTTOM_PX = 27, 17, 96, 40
PANEL_PX = BARS_PX + VALUES_PX + GAP_PX

_STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 }
  .small { font-size: 11.5px; fill: #57606a }
  .panel { font-size: 12.5px; font-weight: 600 }
  .name, .value { font-size: 12.5px }
  .ours { font-weight: 700 }
  .bar { fill: #b6c2cf } .bar.ours { fill: #1f6feb } .bar.limit { fill: #e4e8ec }
  .range { stroke: #24292f; stroke-width: 1.2 } .axis { stroke: #d0d7de }
"""


@dataclass(frozen=True, slots=True)
class _Row:
    label: str
    kind: str
    spreads: tuple[Spread | None, ...]


def cpu_per_call(made: Results) -> str:
    """The SVG of the scenario `unary`: CPU per call with messages of 32 bytes, less is better."""
    rows = []
    for peer in PEERS:
        spreads = tuple(results.spread(made.samples, case, peer.name, "cpu_us_per_call") for case in CASES)
        if any(spreads):
            kind = "ours" if peer.name == OURS else "" if peer.per_call else "limit"
            rows.append(_Row("HAProxy, TCP*" if kind == "limit" else peer.title, kind, spreads))
    width = 2 * MARGIN_PX + LABELS_PX + len(CASES) * PANEL_PX
    height = TOP_PX + len(rows) * ROW_PX + BOTTOM_PX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img">',
        "<title>CPU time per call, by proxy and load</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        _text(MARGIN_PX, 32, "CPU time per gRPC call, microseconds", "title"),
        _text(MARGIN_PX, 52, f"Unary calls of 32 bytes, one core; less is better. {_where(made)}", "small"),
    ]
    parts += [_names(rows), *(_panel(i, case, rows) for i, case in enumerate(CASES))]
    if any(row.kind == "limit" for row in rows):
        note = "* balances connections, not calls: the limit of what any proxy can cost"
        parts.append(_text(MARGIN_PX, height - 16, note, "small"))
    return "\n".join([*parts, "</svg>", ""])


def _names(rows: Sequence[_Row]) -> str:
    x = MARGIN_PX + LABELS_PX - 10
    return "\n".join(_text(x, _middle(i) + 4, row.label, f"name {row.kind}", "end") for i, row in enumerate(rows))


def _panel(number: int, case: str, rows: Sequence[_Row]) -> str:
    left = MARGIN_PX + LABELS_PX + number * PANEL_PX
    found = [row.spreads[number] for row in rows]
    longest = max((spread.high for spread in found if spread), default=1.0)
    bottom = TOP_PX + len(rows) * ROW_PX
    parts = [
        _text(left, TOP_PX - 14, PANEL_TITLES[case], "panel"),
        f'<line class="axis" x1="{left}" y1="{TOP_PX - 4}" x2="{left}" y2="{bottom}"/>',
    ]
    for i, (row, spread) in enumerate(zip(rows, found, strict=True)):
        if spread:
            parts.append(_bar(left, _middle(i), row.kind, spread, BARS_PX / longest))
    return "\n".join(parts)


def _bar(left: int, y: float, kind: str, spread: Spread, px_per_unit: float) -> str:
    """The bar ends at the median; the line across its end is from the lowest to the highest round."""
    low, median, high = (left + value * px_per_unit for value in (spread.low, spread.median, spread.high))
    digits = 1 if spread.median < 100 else 0
    return "\n".join(
        [
            f'<rect class="bar {kind}" x="{left}" y="{y - BAR_PX / 2:.1f}" width="{median - left:.1f}" '
            f'height="{BAR_PX}" rx="2"/>',
            f'<line class="range" x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"/>',
            _text(max(high, median) + 6, y + 4, f"{spread.median:.{digits}f}", f"value {kind}"),
        ]
    )


def _where(made: Results) -> str:
    return f"{made.machine.get('cpu', '')}, median of {made.rounds} rounds, {made.started[:10]}."


def _middle(row: int) -> float:
    return TOP_PX + (row + 0.5) * ROW_PX


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind.strip()}" text-anchor="{anchor}">{escape(text)}</text>'
