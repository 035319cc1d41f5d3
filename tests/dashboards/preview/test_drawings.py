"""Each kind of panel, drawn from answers written by hand."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from dashboards.build import documents
from dashboards.lint import panels_of
from dashboards.preview import cells, graph, heat, lines
from dashboards.preview.answers import Series

SIZE = (600, 300)
SPAN = (0.0, 100.0)


def series(name: str, *values: float, ref: str = "A", **labels: str) -> Series:
    return Series(ref, name, labels, tuple((10.0 * i, value) for i, value in enumerate(values)))


def timeseries(*, stacked: bool = False, limit: float | None = None) -> dict[str, Any]:
    custom: dict[str, Any] = {"stacking": {"mode": "normal" if stacked else "none"}}
    steps = [{"color": "green", "value": None}]
    if limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        steps.append({"color": "red", "value": limit})  # type: ignore[dict-item]
    return {"fieldConfig": {"defaults": {"unit": "short", "custom": custom, "thresholds": {"steps": steps}}}}


def drawing(html: str) -> ET.Element:
    """The SVG alone; that it parses is a test by itself."""
    match = re.search(r"<svg.*?</svg>", html, re.DOTALL)
    assert match
    return ET.fromstring(match[0])  # noqa: S314 - our own text


def heights(path: ET.Element) -> list[float]:
    return [float(y) for _, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.attrib["d"])]


def lines_of(html: str) -> list[ET.Element]:
    return [path for path in drawing(html).iter("path") if path.get("class") == "line"]


def test_a_larger_value_stands_higher_and_the_largest_series_is_named_first() -> None:
    html = lines.draw(timeseries(), [series("small", 1, 2), series("large", 8, 4)], SIZE, SPAN)
    small, large = lines_of(html)  # the first in the legend is drawn last, on top
    assert heights(large)[0] < heights(large)[1] < heights(small)[1] < heights(small)[0]
    assert html.index("large") < html.index("small")


def test_stacked_series_stand_on_each_other() -> None:
    html = lines.draw(timeseries(stacked=True), [series("a", 3, 3), series("b", 1, 1)], SIZE, SPAN)
    upper, lower = lines_of(html)
    alone = lines_of(lines.draw(timeseries(), [series("sum", 4, 4)], SIZE, SPAN))[0]
    assert heights(upper) == heights(alone)
    assert heights(lower) > heights(upper)


def test_points_are_not_joined_over_a_gap_or_nan() -> None:
    gap = Series("A", "a", {}, ((0.0, 1.0), (10.0, 1.0), (60.0, 1.0), (70.0, float("nan")), (80.0, 1.0)))
    (line,) = lines_of(lines.draw(timeseries(), [gap], SIZE, SPAN))
    assert line.attrib["d"].count("M") == 3


def test_the_last_time_of_the_axis_is_not_cut_by_the_edge() -> None:
    drawn = drawing(lines.draw(timeseries(), [series("a", *range(11))], SIZE, (1.0, 91.0)))
    clocks = [text for text in drawn.iter("text") if re.fullmatch(r"\d\d:\d\d:\d\d", text.text or "")]
    assert len(clocks) > 2
    assert all(box(text)[2] <= SIZE[0] + 3 for text in clocks)


def test_one_point_alone_is_seen() -> None:
    (line,) = lines_of(lines.draw(timeseries(), [series("a", 5)], SIZE, SPAN))
    assert line.attrib["d"].endswith("h.1")


@pytest.mark.parametrize(("limit", "shown"), [(2.0, 1), (50.0, 0)])
def test_a_threshold_is_a_line_where_the_axis_reaches_it(limit: float, shown: int) -> None:
    html = lines.draw(timeseries(limit=limit), [series("a", 3)], SIZE, SPAN)
    assert len([p for p in drawing(html).iter("path") if p.get("class") == "limit"]) == shown


@pytest.mark.parametrize(("value", "color"), [(0.0, "green"), (0.02, "orange"), (0.5, "red")])
def test_a_figure_is_the_last_number_in_the_colour_of_its_threshold(value: float, color: str) -> None:
    steps = [
        {"color": "green", "value": None},
        {"color": "orange", "value": 0.01},
        {"color": "red", "value": 0.05},
    ]
    field = {"unit": "percentunit", "color": {"mode": "thresholds"}, "thresholds": {"steps": steps}}
    panel = {"fieldConfig": {"defaults": field}, "options": {"textMode": "auto"}}
    html = cells.figure(panel, [series("a", 0.3, value, float("nan"))], SIZE)
    assert f'<div class="figure" style="color:var(--{color})">' in html
    assert "<small>" not in html


def test_a_figure_has_its_name_where_it_is_to() -> None:
    field = {"unit": "short", "color": {"mode": "fixed"}}
    panel = {"fieldConfig": {"defaults": field}, "options": {"textMode": "value_and_name"}}
    assert "12 <small>EUR</small>" in cells.figure(panel, [series("EUR", 12.0)], SIZE)


def test_a_table_has_a_row_for_each_combination_of_labels_the_largest_first() -> None:
    panel = {
        "transformations": [
            {
                "id": "organize",
                "options": {"renameByName": {"pod": "Pod", "Value #A": "Bytes", "Value #B": "Failed"}},
            }
        ],
        "fieldConfig": {
            "overrides": [
                {"matcher": {"options": heading}, "properties": [{"id": "unit", "value": unit}]}
                for heading, unit in (("Bytes", "bytes"), ("Failed", "short"))
            ]
        },
    }
    answers = [series("", 5, pod="a"), series("", 2000, pod="<b>"), series("", 7, ref="B", pod="a")]
    rows = ET.fromstring(cells.table(panel, answers)).iter("tr")  # noqa: S314 - our own text
    assert [[cell.text for cell in row] for row in rows] == [
        ["Pod", "Bytes", "Failed"],
        ["<b>", "2 kB", "–"],
        ["a", "5 B", "7"],
    ]


def test_a_cell_tells_the_text_that_stands_for_its_value_and_no_label_is_blank() -> None:
    """Its column has no bars: their length would be that of a figure which means something else."""
    panel = next(panel for panel in panels_of(documents()["services"]) if panel["title"] == "Longest not dialled")
    answers = [series("", number, service=service) for service, number in (("a", 2e9), ("", 60.0))]
    html = cells.table(panel, answers)
    rows = [[cell.text for cell in row] for row in ET.fromstring(html).iter("tr")]  # noqa: S314 - our own text
    assert [(row[1], row[3]) for row in rows] == [("Service", "Idle"), ("a", "never"), ("–", "1 min")]
    assert "--part" not in html


def test_a_heat_map_shows_what_lies_between_bounds() -> None:
    panel = {"options": {"yAxis": {"unit": "s"}}}
    bounds = [series(le, count, le=le) for le, count in (("0.1", 2.0), ("0.5", 2.0), ("1.0", 5.0), ("+Inf", 5.0))]
    drawn = drawing(heat.draw(panel, bounds, SIZE, SPAN))
    assert len(list(drawn.iter("rect"))) == 2  # up to 0.1, and from 0.5 to 1
    assert [text.text for text in drawn.iter("text") if text.get("class") == "end"] == ["100 ms", "500 ms", "1 s"]


def test_a_heat_map_of_nothing_says_so() -> None:
    assert "No observations" in heat.draw({"options": {"yAxis": {"unit": "s"}}}, [series("1", 0, le="1")], SIZE, SPAN)


def test_a_graph_has_its_nodes_and_an_arc_for_each_edge_the_failing_red() -> None:
    nodes = [series("", 1, ref="nodes", id=f"n/{name}", title=name, subtitle="n") for name in "abc"]
    edges = [
        series("", 9, ref="edges", id="1", source="n/a", target="n/b", color="#e02f44"),
        series("", 4, ref="edges", id="2", source="n/b", target="n/b", color="#8e8e8e"),
        series("", 4, ref="edges", id="3", source="n/gone", target="n/b", color="#8e8e8e"),
    ]
    drawn = drawing(graph.draw([*nodes, *edges], SIZE, "KBs"))
    classes = [element.get("class") for element in drawn.iter()]
    assert classes.count("node") == 3
    assert (classes.count("arc red"), classes.count("arc grey")) == (1, 1)


@pytest.mark.parametrize("count", [2, 9, 18])
def test_the_names_of_a_graph_meet_neither_each_other_nor_a_loop(count: int) -> None:
    nodes = [
        series("", 1, ref="nodes", id=str(i), title="kube-apiserver", subtitle="kube-system") for i in range(count)
    ]
    loops = [
        series("", 1, ref="edges", id=f"loop{i}", source=str(i), target=str(i), color="#8e8e8e") for i in range(count)
    ]
    drawn = drawing(graph.draw([*nodes, *loops], (1416, 460), "KBs"))
    boxes = [box(text) for text in drawn.iter("text")]
    circles = list(drawn.iter("circle"))
    assert len(boxes) == count
    for i, one in enumerate(boxes):
        assert one[0] >= 0
        assert one[1] >= 0
        assert one[2] <= 1416
        assert one[3] <= 460
        assert not any(meet(one, other) for other in boxes[:i])
        assert not any(meet(one, around(circle)) for circle in circles)


Box = tuple[float, float, float, float]


def box(text: ET.Element) -> Box:
    """Left, top, right and bottom of a name, of which a letter is some 7 pixels wide."""
    words, width = (text.get("class") or "").split(), 7 * len("".join(text.itertext()))
    x, y = float(text.attrib["x"]), float(text.attrib["y"])
    left = x - width if "end" in words else x - width / 2 if "middle" in words else x
    return left, y - 9, left + width, y + 3


def around(circle: ET.Element) -> Box:
    x, y, r = (float(circle.attrib[name]) for name in ("cx", "cy", "r"))
    return x - r, y - r, x + r, y + r


def meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
