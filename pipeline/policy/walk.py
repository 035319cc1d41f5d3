"""One connection walked through every tier, policy and rule in the order in which they are asked, with reasons.

It takes one rule at a time where the engine takes tables, from the same terms. The invariant: its verdict and the
policies that it holds responsible are the engine's; tests compare them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..attribution.policies import Policies
from ..attribution.policies.evaluation import ALLOWED, DENIED, NOT_JUDGED, UNPROTECTED, VERDICTS
from ..attribution.policies.side import EFFECTS
from ..attribution.policies.terms import Action, Direction, Policy, Rule, Tier
from .evidence import Used
from .parties import Party
from .wording import Met, means_peer, means_port, selects, written

TIERS: Final = {Tier.ADMIN: "admin", Tier.NAMESPACE: "NetworkPolicy", Tier.BASELINE: "baseline"}


@dataclass(frozen=True, slots=True)
class RuleStep:
    """One rule: whether it means the peer and the port."""

    label: str
    action: str
    peer: Met
    port: Met

    @property
    def met(self) -> bool:
        """Whether the rule matches."""
        return self.peer.met and self.port.met


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One policy that was looked at. `rules` are those that were asked; `effect` is "" where it had none."""

    tier: str
    kind: str
    namespace: str | None
    name: str
    selects: Met
    rules: Sequence[RuleStep] = ()
    effect: str = ""
    rule: str | None = None
    near_miss_rule: str | None = None
    objects: Sequence[Used] = ()
    """The policy's object, and since when it is as it is; "" where that is longer than is known."""
    since: str = ""

    @property
    def responsible(self) -> dict[str, Any]:
        """The step as the engine names it among the responsible policies."""
        keys = ("kind", "namespace", "name", "rule", "effect", "near_miss_rule")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True, slots=True)
class SideWalk:
    """One direction: its verdict, why, and every step."""

    direction: Direction
    subject: str
    verdict: str
    why: str
    steps: Sequence[PolicyStep] = ()
    elsewhere: int = 0
    """NetworkPolicies of other namespaces, which cannot select the pod."""
    not_judged: Sequence[str] = ()

    @property
    def policies(self) -> list[dict[str, Any]]:
        """The responsible policies, as the engine lists them."""
        return [step.responsible for step in self.steps if step.effect]


@dataclass(frozen=True, slots=True)
class Question:
    """One connection to the backend that answers."""

    source: Party
    destination: Party
    protocol: int
    port: int


@dataclass
class _Walk:
    question: Question
    peer: Party
    steps: list[PolicyStep] = field(default_factory=list)

    def rule(self, rule: Rule) -> RuleStep:
        return RuleStep(rule.label, EFFECTS[rule.action], self._peer(rule), self._port(rule))

    def _peer(self, rule: Rule) -> Met:
        if rule.peers is None:
            return Met(True, "any peer")
        return _any([means_peer(peer, self.peer) for peer in sorted(rule.peers, key=repr)], "it names no peer")

    def _port(self, rule: Rule) -> Met:
        if rule.ports is None:
            return Met(True, "any port")
        asked = self.question
        terms = sorted(rule.ports, key=repr)
        return _any(
            [means_port(term, asked.protocol, asked.port, asked.destination) for term in terms], "it names no port"
        )


def walk(policies: Policies, direction: Direction, question: Question) -> SideWalk:
    """Walk one direction of a connection."""
    subject, peer = (
        (question.source, question.destination) if direction == "egress" else (question.destination, question.source)
    )
    if question.source.address == question.destination.address or (
        subject.is_pod and question.source.endpoint_id == question.destination.endpoint_id
    ):
        return SideWalk(direction, subject.text, VERDICTS[ALLOWED], "the traffic never leaves the pod")
    if not subject.is_pod:
        why = "policies select pods with an address of their own, and this is none"
        return SideWalk(direction, subject.text, VERDICTS[UNPROTECTED], why)
    mine = [policy for policy in policies.written if policy.direction == direction]
    near = [policy for policy in mine if policy.namespace in {None, subject.namespace}]
    found = _Walk(question, peer)
    verdict, why = _tiers(found, near, subject)
    if verdict == DENIED and direction == "ingress" and peer.kind == "Node" and peer.node == subject.node:
        verdict, why = ALLOWED, "it comes from the node that the pod is on, which no NetworkPolicy keeps out"
        found.steps = [step if step.effect != "isolates" else replace(step, effect="") for step in found.steps]
    may_apply = [stranger for stranger in policies.not_judged if stranger.may_apply(direction, subject.namespace)]
    strangers = [f"{kind} {f'{namespace}/' if namespace else ''}{name}" for kind, namespace, name in may_apply]
    steps = found.steps
    if verdict == UNPROTECTED and strangers:
        verdict, why = NOT_JUDGED, "no policy that is understood selects it, and others may"
        steps = [
            *steps,
            *(
                PolicyStep("", kind, namespace, name, Met(True, "not understood, so not judged"), effect="not judged")
                for kind, namespace, name in may_apply
            ),
        ]
    return SideWalk(direction, subject.text, VERDICTS[verdict], why, steps, len(mine) - len(near), strangers)


def _tiers(found: _Walk, policies: Sequence[Policy], subject: Party) -> tuple[int, str]:
    """The verdict and what it rests on."""
    is_selected = False
    verdict: int | None = None
    why = ""
    for tier in Tier:
        selecting = []
        for policy in (policy for policy in policies if policy.tier == tier):
            met = selects(policy.subject, subject)
            if met.met:
                selecting.append((policy, met))
            elif verdict is None:
                found.steps.append(_step(policy, met))
        is_selected |= bool(selecting)
        if verdict is not None or not selecting:
            continue
        if tier == Tier.NAMESPACE:
            verdict, why = _isolated(found, selecting)
        else:
            verdict, why = _in_order(found, selecting)
    if verdict is not None:
        return verdict, why
    if is_selected:
        return ALLOWED, "no rule of the policies that select it decides, and the cluster's default lets it through"
    return UNPROTECTED, "no policy selects it in this direction"


def _in_order(found: _Walk, selecting: Sequence[tuple[Policy, Met]]) -> tuple[int | None, str]:
    """Admin and baseline tiers: the first rule that matches decides, or passes the question on."""
    for place, (policy, met) in enumerate(selecting):
        asked: list[RuleStep] = []
        for rule in policy.rules:
            asked.append(found.rule(rule))
            if asked[-1].met:
                found.steps.append(_step(policy, met, asked, EFFECTS[rule.action], rule.label))
                left = len(selecting) - place - 1
                name = _named(policy)
                if rule.action == Action.PASS:
                    return None, ""
                verdict = ALLOWED if rule.action == Action.ALLOW else DENIED
                behind = f"; {left} later policies of the tier are not asked" if left else ""
                return verdict, f"rule {rule.label} of {name} is the first to match{behind}"
        found.steps.append(_step(policy, met, asked))
    return None, ""


def _isolated(found: _Walk, selecting: Sequence[tuple[Policy, Met]]) -> tuple[int, str]:
    """NetworkPolicies: any rule of any of them may allow; else they isolate."""
    asked = [(policy, met, [found.rule(rule) for rule in policy.rules]) for policy, met in selecting]
    allowing = [policy for policy, _, rules in asked if any(rule.met for rule in rules)]
    for policy, met, rules in asked:
        first = next((rule.label for rule in rules if rule.met), None)
        if first is not None:
            found.steps.append(_step(policy, met, rules, "allow", first))
        elif allowing:
            found.steps.append(_step(policy, met, rules))
        else:
            near = next((rule.label for rule in rules if rule.peer.met), None)
            found.steps.append(_step(policy, met, rules, "isolates", None, near))
    if allowing:
        return ALLOWED, f"{_named(allowing[0])} allows it" + (f", and {len(allowing) - 1} more" if allowing[1:] else "")
    names = ", ".join(_named(policy) for policy, _, _ in asked)
    return DENIED, f"isolated by {names}, and no rule of theirs allows it"


def _step(
    policy: Policy,
    met: Met,
    rules: Sequence[RuleStep] = (),
    effect: str = "",
    rule: str | None = None,
    near: str | None = None,
) -> PolicyStep:
    tier = TIERS[policy.tier]
    return PolicyStep(tier, policy.kind, policy.namespace, policy.name, met, rules, effect, rule, near)


def _named(policy: Policy) -> str:
    return f"{policy.kind} {f'{policy.namespace}/' if policy.namespace else ''}{policy.name}"


def _any(found: Sequence[Met], nothing: str) -> Met:
    """The first that is met, or why none is."""
    if not found:
        return Met(False, nothing)
    return next((met for met in found if met.met), Met(False, "; ".join(met.why for met in found)))


def came_near(step: RuleStep) -> str:
    """Of a rule that missed by one part alone: which part, in words; "" otherwise."""
    if step.peer.met and not step.port.met:
        return f"came near: the peer fits ({step.peer.why}), the port does not ({step.port.why})"
    if step.port.met and not step.peer.met:
        return f"came near: the port fits ({step.port.why}), the peer does not ({step.peer.why})"
    return ""


def asked_for(question: Question) -> str:
    """The connection in one line."""
    where = written(question.protocol, question.port)
    source, destination = (_with_address(end) for end in (question.source, question.destination))
    return f"{source} to {destination}, {where}"


def _with_address(party: Party) -> str:
    return party.text if str(party.address) in party.text else f"{party.text} ({party.address})"
