"""A policy in the engine's own terms, whatever kind of object it was written as.

A kind is judged once a reader turns its objects into `Policy`; nothing behind `readers` knows of kinds. All terms are
immutable and hashable, so that equal peers, ports and selectors of many policies are evaluated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from ...inventory.parts import Network

Direction = Literal["ingress", "egress"]
Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]

Requirement = tuple[str, Operator, tuple[str, ...]]
"""Key, operator, values."""
Selector = tuple[Requirement, ...]
"""All requirements must hold; the empty selector selects everything."""


class Tier(IntEnum):
    """The order in which policies are asked."""

    ADMIN = 0
    NAMESPACE = 1  # NetworkPolicy: rules only allow, and a pod that is selected is isolated from all else
    BASELINE = 2


class Action(IntEnum):
    """What a rule does with the traffic that it matches."""

    ALLOW = 0
    DENY = 1
    PASS = 2


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods that are not on their node's network, in one namespace or in those that a selector selects."""

    namespace: str | None
    namespaces: Selector
    pods: Selector


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes, and with them all that shares their addresses."""

    nodes: Selector


@dataclass(frozen=True, slots=True)
class Addresses:
    """A range of addresses without some of its parts, whoever holds them: pods too."""

    network: Network
    excluded: tuple[Network, ...] = ()


Peer = Pods | Nodes | Addresses


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of one protocol, by IANA number."""

    protocol: int
    first: int = 0
    last: int = 65535


@dataclass(frozen=True, slots=True)
class NamedPort:
    """Container ports of this name at the destination; of any protocol where `protocol` is None."""

    name: str
    protocol: int | None


@dataclass(frozen=True, slots=True)
class Rule:
    """Traffic and what happens to it. `peers` or `ports` None matches all; empty, none."""

    label: str
    """What people call the rule: its name, or its place among the rules, counted from 1."""
    action: Action
    peers: frozenset[Peer] | None
    ports: frozenset[Ports | NamedPort] | None


@dataclass(frozen=True, slots=True)
class Policy:
    """One object's say in one direction."""

    kind: str
    namespace: str | None
    name: str
    direction: Direction
    tier: Tier
    priority: int
    subject: Pods
    rules: tuple[Rule, ...]
    hangs_on_rules: bool = False
    """Whether it isolates in this direction only for having rules in it: its object names no directions."""
