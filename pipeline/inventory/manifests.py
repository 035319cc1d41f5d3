"""Cluster objects from files: YAML, JSON and JSON Lines, single or multi-document, List objects, whole folders.

What cannot be understood becomes a `Refusal` that names the file, document and field, and never stops the rest: a dump
with one bad object is still a picture of the cluster. Of a policy it is known besides that it is there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import yaml

from ..errors import ConfigError
from .identities import opaque
from .models import Opaque, Other, Resource, convert

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json", ".jsonl"})
_DOCUMENT_START: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_FIELD: Final = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<field>.*)`\Z", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<field>.*)`\Z")


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes means it: timestamps stay text, a lone `=` is text too, and so is every key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        if all(isinstance(key, str) for key in mapping):
            return mapping
        return {_key(key): value for key, value in mapping.items()}


def _key(key: Hashable) -> Hashable:
    """A key as JSON has it, where it is a number or a truth value; others are left to be refused."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key) if isinstance(key, int | float) else key


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in rules
        if tag not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
    ]
    for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One object, document or file that was left out, and why."""

    file: str
    document: int  # counts from 1; 0 where the file as a whole could not be read
    line: int  # where the document begins or the syntax breaks; 0 where unknown
    kind: str  # "" where it could not be told
    name: str  # namespace/name or name
    field: str  # path of the field at fault; "" where it is the document as a whole
    problem: str

    def __str__(self) -> str:
        where = self.file
        if self.document:
            where += f": document {self.document}"
        if self.line:
            where += f" (line {self.line})"
        subject = f"{self.kind} {self.name}".strip()
        return ": ".join(part for part in (where, subject, self.field, self.problem) if part)


@dataclass(frozen=True, slots=True)
class _Document:
    file: str
    number: int
    line: int

    def refusal(self, problem: str, *, kind: str = "", name: str = "", field: str = "", line: int = 0) -> Refusal:
        return Refusal(self.file, self.number, line or self.line, kind, name, field, problem)


def load(path: Path) -> tuple[list[Resource], list[Refusal]]:
    """All objects of a file, or of every manifest below a folder, in the order of file names; and what was refused.

    Hidden files and folders are passed over. Raises ConfigError where `path` does not exist or holds no manifest file.
    """
    objects: list[Resource] = []
    refusals: list[Refusal] = []
    for file in listing(path).files:
        for item in read(file):
            (refusals if isinstance(item, Refusal) else objects).append(item)  # type: ignore[arg-type]  # one list each
    return objects, refusals


@dataclass(frozen=True, slots=True)
class Listing:
    """The manifest files that there are, in the order of their names; and the folders that would not be listed."""

    files: list[Path]
    unlisted: dict[Path, str]
    """What the system said, by folder."""


def listing(path: Path) -> Listing:
    """The file, or every manifest below the folder that is not hidden. Raises ConfigError where there is none."""
    if not path.exists():
        raise ConfigError(f"state: {path} does not exist")
    if not path.is_dir():
        return Listing([path], {})
    errors: list[OSError] = []
    files = []
    for folder, below, names in os.walk(path, onerror=errors.append):
        below[:] = [name for name in below if not name.startswith(".")]
        here = [Path(folder, name) for name in names if not name.startswith(".")]
        files += [file for file in here if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not files:
        raise ConfigError(f"state: {path} holds no .yaml, .yml, .json or .jsonl file")
    return Listing(sorted(files), {Path(error.filename): error.strerror or str(error) for error in errors})


def read(file: Path) -> Iterator[Resource | Refusal]:
    """The objects of one file, in order, and what was refused of it."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        yield _Document(str(file), 0, 0).refusal(str(error))
        return
    if file.suffix.lower() == ".json":
        yield from _read_json(_Document(str(file), 1, 1), text)
        return
    if file.suffix.lower() == ".jsonl":
        for line, part in enumerate(text.split("\n"), start=1):
            if part.strip():
                yield from _read_json(_Document(str(file), line, line), part)
        return
    number = 0
    for line, part in _split(text):
        document = _Document(str(file), number + 1, line)
        try:
            body = yaml.load(part, Loader=_Loader)  # noqa: S506  # a CSafeLoader with two resolvers less
        except yaml.YAMLError as error:
            number += 1
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or str(error)
            yield document.refusal(problem, line=line + mark.line if mark else 0)
            continue
        except (ValueError, RecursionError) as error:
            number += 1
            yield document.refusal(str(error))
            continue
        if body is not None:
            number += 1
            yield from _resources(document, body)


def _read_json(document: _Document, text: str) -> Iterator[Resource | Refusal]:
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        yield document.refusal(str(error))
        return
    yield from _resources(document, body)


def _split(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a YAML stream and their first lines: a broken one must not take the others along."""
    starts = [0, *(match.end() for match in _DOCUMENT_START.finditer(text)), len(text) + 1]
    line = 1
    for start, end in pairwise(starts):
        part = text[start:end] if end > len(text) else text[start : end - len("---")]
        yield line, part
        line += text.count("\n", start, end)


def _resources(
    document: _Document, body: Any, path: str = "", inherited: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Resource | Refusal]:
    """The object in a document, or the items of a List, however deep; `inherited` is what a typed list says of them."""
    if not isinstance(body, dict):
        yield document.refusal(f"Expected `object`, got `{type(body).__name__}`", field=path.rstrip("."))
        return
    body = {**inherited, **body}
    kind, api_version = body.get("kind"), body.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(api_version, str):
        field = "apiVersion" if isinstance(kind, str) else "kind"
        known = kind if isinstance(kind, str) else ""
        yield document.refusal("missing, or no text", kind=known, name=_name(body), field=path + field)
        return
    if kind.endswith("List") and isinstance(body.get("items"), list | None):
        item_kind = kind.removesuffix("List")
        given = {"kind": item_kind, "apiVersion": api_version} if item_kind else {}
        for index, item in enumerate(body.get("items") or []):
            yield from _resources(document, item, f"{path}items[{index}].", given)
        return
    try:
        yield convert(api_version, kind, body)
    except msgspec.ValidationError as error:
        problem, field = _at_fault(str(error))
        yield document.refusal(problem, kind=kind, name=_name(body), field=path + field)
        if (stand_in := _opaque(api_version, kind, body)) is not None:
            yield stand_in


def _opaque(api_version: str, kind: str, body: Mapping[str, Any]) -> Opaque | None:
    try:
        metadata = msgspec.convert(body, Other).metadata
    except msgspec.ValidationError:
        return None
    return opaque(api_version, kind, metadata.namespace, metadata.name)


def _at_fault(message: str) -> tuple[str, str]:
    """The problem and the path of the field in the text of a ValidationError."""
    match = _FIELD.match(message)
    problem, field = (match["problem"], match["field"]) if match else (message, "")
    missing = _MISSING.match(problem)
    return ("missing", f"{field}.{missing['field']}".lstrip(".")) if missing else (problem, field)


def _name(body: dict[Any, Any]) -> str:
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    return "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))
