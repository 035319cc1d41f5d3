"""What a PromQL expression reads and returns, held against the metric catalogue.

Labels are inferred through the syntax tree, so a legend that names a label which the query has summed away is found,
not only one that does not exist. `$variables` are replaced before parsing: they are Grafana's, not PromQL's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import promql_parser as ast

from pipeline.catalog import SERIES

Labels = frozenset[str]

BUILT_IN: Final = {"__rate_interval": "1m", "__range": "1h", "__interval": "15s"}
"""Grafana's own variables that queries may use, and a value to parse them with."""

TARGET_LABELS: Final = frozenset({"instance", "job"})
"""Labels that Prometheus adds to every series that it scrapes; only what groups by them is taken to have them."""

FOREIGN: Final[Mapping[str, frozenset[str]]] = {"container_network_": frozenset({"id"})}
"""By how names begin that others expose too, the labels that theirs have and ours do not: cAdvisor's."""

_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})")
_KEEPS_LABELS: Final = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})


@dataclass(slots=True)
class Reading:
    """One expression, read: the labels that its result can have, the metrics it names, and what is wrong with it.

    `known` are the labels of every series that there is.
    """

    known: Mapping[str, tuple[str, ...]]
    labels: Labels = frozenset()
    metrics: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


def foreign(metric: str) -> frozenset[str]:
    """The labels that others' series of the metric's name have: ours have none of them, and are told apart by that."""
    return frozenset().union(*(labels for start, labels in FOREIGN.items() if metric.startswith(start)))


def variables(text: str) -> set[str]:
    """The names of the `$variables` in a text."""
    return {match[1] or match[2] for match in _VARIABLE.finditer(text)}


def substitute(text: str, values: Mapping[str, str]) -> str:
    """The text with each `$variable` replaced; one without a value stays."""
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], match[0]), text)


def read(expression: str, known: Mapping[str, tuple[str, ...]] = SERIES) -> Reading:
    """Parse the expression (variables already replaced) and infer its labels; never raises for what it holds.

    `known` are the series that there are, with their labels.
    """
    reading = Reading(known)
    try:
        tree = ast.parse(expression)
    except ValueError as error:
        reading.problems.append(f"does not parse: {error}")
        return reading
    reading.labels = _labels(tree, reading)
    return reading


def _labels(node: Any, reading: Reading) -> Labels:
    match node:
        case ast.VectorSelector():
            return _selector(node, reading)
        case ast.MatrixSelector():
            return _selector(node.vector_selector, reading)
        case ast.AggregateExpr():
            return _aggregate(node, reading)
        case ast.BinaryExpr():
            return _binary(node, reading)
        case ast.Call():
            return _call(node, reading)
        case ast.ParenExpr() | ast.UnaryExpr() | ast.SubqueryExpr():
            return _labels(node.expr, reading)
    return frozenset()  # a literal


def _selector(node: Any, reading: Reading) -> Labels:
    if node.name not in reading.known:
        reading.problems.append(f"no metric {node.name or '(unnamed)'} in the catalogue")
        return frozenset()
    reading.metrics.add(node.name)
    labels = frozenset(reading.known[node.name])
    matched = {matcher.name for matcher in node.matchers.matchers}
    _require(labels | foreign(node.name), matched, f"{node.name} has no label", reading)
    return labels


def _aggregate(node: Any, reading: Reading) -> Labels:
    inner = _labels(node.expr, reading)
    if str(node.op) in _KEEPS_LABELS:
        return inner
    if node.modifier is None:
        return frozenset()
    named = frozenset(node.modifier.labels)
    _require(inner | TARGET_LABELS, named, f"{node.op} groups by a label that is not there:", reading)
    return named if node.modifier.type == ast.AggModifierType.By else inner - named


def _binary(node: Any, reading: Reading) -> Labels:
    left, right = _labels(node.lhs, reading), _labels(node.rhs, reading)
    modifier = node.modifier
    matching = modifier.matching if modifier else None
    if matching is not None:
        _require(left | right, matching.labels, "vectors are matched on a label that is not there:", reading)
    operator = str(node.op)
    if operator == "or":
        return left | right
    if operator in ("and", "unless") or _is_scalar(node.rhs):
        return left
    if _is_scalar(node.lhs):
        return right
    if modifier and modifier.card == ast.VectorMatchCardinality.ManyToOne:
        return left | frozenset(modifier.group_labels or ())
    if modifier and modifier.card == ast.VectorMatchCardinality.OneToMany:
        return right | frozenset(modifier.group_labels or ())
    if matching is not None and matching.type == ast.LabelModifierType.Include:
        return frozenset(matching.labels)
    if matching is not None:
        return left - frozenset(matching.labels)
    if left != right:
        reading.problems.append(f"{operator} joins {sorted(left)} with {sorted(right)}: nothing can match")
    return left


def _call(node: Any, reading: Reading) -> Labels:
    found = [_labels(argument, reading) for argument in node.args]
    name = node.func.name
    if name in ("label_replace", "label_join"):
        target, sources = (
            node.args[1].val,
            [a.val for a in (node.args[3:4] if name == "label_replace" else node.args[3:])],
        )
        _require(found[0], sources, f"{name} reads a label that is not there:", reading, optional="")
        return found[0] | {target}
    if name == "histogram_quantile":
        _require(found[1], ("le",), "histogram_quantile reads a label that is not there:", reading)
        return found[1] - {"le"}
    if name in ("absent", "scalar", "vector", "time"):
        return frozenset()
    return frozenset().union(*found)


def _is_scalar(node: Any) -> bool:
    """Whether the node has one value and no series; enough of PromQL's typing for the operators above."""
    match node:
        case ast.NumberLiteral():
            return True
        case ast.ParenExpr() | ast.UnaryExpr():
            return _is_scalar(node.expr)
        case ast.BinaryExpr():
            return _is_scalar(node.lhs) and _is_scalar(node.rhs)
        case ast.Call():
            return bool(node.func.return_type == ast.ValueType.Scalar)
    return False


def _require(have: Labels, want: Any, complaint: str, reading: Reading, optional: str | None = None) -> None:
    reading.problems += [f"{complaint} {name}" for name in sorted(want) if name not in have and name != optional]
