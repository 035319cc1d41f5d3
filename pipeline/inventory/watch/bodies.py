"""Objects of the API server as the bus carries them: the fields that the models read, as JSON with the API's names.

The invariant: the model of a body equals the model of the object that it was made of, so whoever reads the bus knows
what whoever reads the cluster does. Kinds without a model are their metadata, and a policy that its model refuses has a
body that the model refuses too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ..identities import opaque
from ..models import Other, convert
from ..parts import Cidr, Ip, Metadata, Slim
from .kinds import Served

_UNREAD: Final = ("kubectl.kubernetes.io/last-applied-configuration",)
"""Annotations that hold whole objects and that nothing reads."""
_NOT_UNDERSTOOD: Final = "not understood"
"""In place of a policy's spec. No model takes text there; without a spec, a policy means something."""
_METADATA: Final = b',"metadata":{'
"""Behind apiVersion and kind in every body; a name follows in it."""


@dataclass(frozen=True, slots=True)
class Known:
    """One object as it is said on the bus. Two are equal where what is read of them is, whatever their versions."""

    namespace: str
    name: str
    uid: str
    body: bytes
    """Without the version."""
    version: str = field(default="", compare=False)
    """`metadata.resourceVersion`."""

    @property
    def written(self) -> bytes:
        """The body with the version."""
        if not self.version:
            return self.body
        before, start, rest = self.body.partition(_METADATA)
        return b"".join((before, start, b'"resourceVersion":', msgspec.json.encode(self.version), b",", rest))


@dataclass(frozen=True, slots=True)
class Seen:
    """An object's metadata as it came, for those that are gone or not understood."""

    namespace: str
    name: str
    uid: str
    resource_version: str


class _ListMetadata(Slim, frozen=True):
    """The metadata that a list or an event has of an object."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""


class _Bare(Slim, frozen=True):
    metadata: _ListMetadata = _ListMetadata()


class _Counted(Slim, frozen=True):
    """A kind without a model: what every object says about itself."""

    metadata: Metadata = Metadata()


def seen(raw: Mapping[str, Any]) -> Seen:
    """Who an object is. Raises msgspec.ValidationError where it does not say."""
    metadata = msgspec.convert(raw, _Bare).metadata
    if not metadata.name:
        raise msgspec.ValidationError("Object has no name - at `$.metadata.name`")
    return Seen(metadata.namespace or "", metadata.name, metadata.uid, metadata.resource_version)


def seen_or_none(raw: Mapping[str, Any]) -> Seen | None:
    """Who an object is; None where not even that is understood."""
    try:
        return seen(raw)
    except msgspec.ValidationError:
        return None


def slim(served: Served, raw: Mapping[str, Any]) -> Known:
    """Cut one object down. Raises msgspec.ValidationError, which names the field, where it is not of its kind."""
    who = seen(raw)
    inherited = {"apiVersion": served.api_version, "kind": served.kind.name}
    model: Slim = convert(served.api_version, served.kind.name, {**raw, **inherited})
    if isinstance(model, Other):
        model = msgspec.convert(raw, _Counted)
    fields = {**inherited, **_present(model)}
    annotations = fields["metadata"].get("annotations") or {}
    for name in _UNREAD:
        annotations.pop(name, None)
    fields["metadata"].pop("resourceVersion", None)
    return Known(who.namespace, who.name, who.uid, msgspec.json.encode(fields), who.resource_version)


def nameplate(served: Served, who: Seen) -> Known | None:
    """An object that `slim` refuses, where that it is there is worth telling: a policy."""
    known = opaque(served.api_version, served.kind.name, who.namespace, who.name)
    if known is None:
        return None
    fields = {"apiVersion": served.api_version, **_present(known), "spec": _NOT_UNDERSTOOD}
    return Known(who.namespace, who.name, who.uid, msgspec.json.encode(fields), who.resource_version)


def _present(model: Slim) -> dict[str, Any]:
    """A model's fields by the API's names, without those that hold nothing."""
    plain = msgspec.to_builtins(model, enc_hook=_text, builtin_types=())
    cut: dict[str, Any] = _without_none(plain)
    return cut


def _without_none(value: Any) -> Any:
    """Drop the fields that are None: every field that may be is None where it is absent."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def _text(value: object) -> str:
    """An address or a range as the models read it back."""
    if isinstance(value, Ip):
        return str(value.address) if any(value.address) else ""
    if isinstance(value, Cidr):
        return str(value.network)
    raise NotImplementedError(f"{type(value).__name__} has no text")
