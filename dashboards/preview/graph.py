"""A node graph as SVG: nodes on an ellipse, side by side with those of the same subtitle, edges as arcs between them.

Grafana lets nodes push each other apart; on an ellipse every name can be read and equal answers give equal drawings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from . import units
from .answers import Series
from .lines import svg

_NAMES = 240
"""Pixels left and right of the ellipse for the names of nodes."""
_PULL = 0.55
"""How far an arc bends towards the middle."""


@dataclass(frozen=True, slots=True)
class _Place:
    x: float
    y: float
    angle: float


def draw(series: Sequence[Series], size: tuple[int, int], unit: str) -> str:
    """The graph that the queries `nodes` and `edges` tell."""
    width, height = size
    nodes = sorted(
        (one for one in series if one.ref == "nodes"),
        key=lambda one: (one.labels.get("subtitle", ""), one.labels["title"]),
    )
    edges = sorted((one for one in series if one.ref == "edges"), key=lambda one: one.last)
    places = {node.labels["id"]: _place(i, len(nodes), width, height) for i, node in enumerate(nodes)}
    largest = max((edge.last for edge in edges), default=1.0) or 1.0
    arcs = "".join(
        _arc(places[edge.labels["source"]], places[edge.labels["target"]], edge, largest, size, unit)
        for edge in edges
        if {edge.labels["source"], edge.labels["target"]} <= places.keys()
    )
    return svg(width, height, arcs + "".join(_node(node, places[node.labels["id"]], unit) for node in nodes))


def _place(i: int, count: int, width: int, height: int) -> _Place:
    angle = 2 * math.pi * i / count - math.pi / 2
    return _Place(
        width / 2 + (width / 2 - _NAMES) * math.cos(angle), height / 2 + (height / 2 - 26) * math.sin(angle), angle
    )


def _node(node: Series, place: _Place, unit: str) -> str:
    x, y, anchor = _name_at(place)
    subtitle = node.labels.get("subtitle", "")
    name = f"{escape(node.labels['title'])}<tspan class='faint'> {escape(subtitle)}</tspan>"
    title = f"<title>{escape(node.labels['id'])}: {escape(units.text(node.last, unit))}</title>"
    return (
        f'<g>{title}<circle cx="{place.x:.1f}" cy="{place.y:.1f}" r="6" class="node"/>'
        f'<text x="{x:.1f}" y="{y:.1f}" class="name{anchor}">{name}</text></g>'
    )


def _name_at(place: _Place) -> tuple[float, float, str]:
    """Where a name begins, and its class: outwards from the node, so that it meets no neighbour's."""
    if _is_outermost(place):
        return place.x, place.y + (-11 if place.angle < 0 else 20), " middle"
    if math.cos(place.angle) > 0:
        return place.x + 11, place.y + 4, ""
    return place.x - 11, place.y + 4, " end"


def _is_outermost(place: _Place) -> bool:
    """Whether it is the topmost or the lowest of the ellipse."""
    return abs(math.cos(place.angle)) < 0.1


def _arc(one: _Place, other: _Place, edge: Series, largest: float, size: tuple[int, int], unit: str) -> str:
    """An arc that ends before the node, with its head turned the way it arrives; red edges are red."""
    middle = (
        (one.x + other.x) / 2 * (1 - _PULL) + size[0] / 2 * _PULL,
        (one.y + other.y) / 2 * (1 - _PULL) + size[1] / 2 * _PULL,
    )
    kind = "red" if edge.labels.get("color", "").lower().startswith("#e0") else "grey"
    thickness = 0.8 + 3.2 * math.sqrt(edge.last / largest)
    title = f"<title>{escape(edge.labels['id'])}: {escape(units.text(edge.last, unit))}</title>"
    if one is other:  # where its name is not
        y = one.y + (11 if _is_outermost(one) and one.angle < 0 else -11)
        return (
            f'<circle cx="{one.x:.1f}" cy="{y:.1f}" r="8" class="arc {kind}" '
            f'stroke-width="{thickness:.1f}">{title}</circle>'
        )
    away = math.hypot(other.x - middle[0], other.y - middle[1]) or 1.0
    back = ((other.x - middle[0]) / away, (other.y - middle[1]) / away)
    tip = (other.x - 8 * back[0], other.y - 8 * back[1])
    foot = (tip[0] - 9 * back[0], tip[1] - 9 * back[1])
    head = " ".join(
        f"{x:.1f},{y:.1f}"
        for x, y in (
            tip,
            (foot[0] - 4.5 * back[1], foot[1] + 4.5 * back[0]),
            (foot[0] + 4.5 * back[1], foot[1] - 4.5 * back[0]),
        )
    )
    return (
        f'<g>{title}<path class="arc {kind}" stroke-width="{thickness:.1f}" '
        f'd="M{one.x:.1f} {one.y:.1f}Q{middle[0]:.1f} {middle[1]:.1f} {foot[0]:.1f} {foot[1]:.1f}"/>'
        f'<polygon class="head {kind}" points="{head}"/></g>'
    )
