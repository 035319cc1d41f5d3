"""The licences of everything that Flowatlas brings with it: `make licences` prints them.

What is installed is asked: an expression (PEP 639) where there is one, else classifiers, else the free text, else the
licence file's first line.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

from packaging.requirements import Requirement

ALLOWED: Final = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "PSF-2.0", "Zlib"}
)
"""Licences that ask for no more than notice."""
_SPDX: Final = (
    (r"\bApache", "Apache-2.0"),
    (r"\bBSD.2|\b2.Clause", "BSD-2-Clause"),
    (r"\bBSD", "BSD-3-Clause"),
    (r"\bISC", "ISC"),
    (r"\bMIT|Permission is hereby granted, free of charge", "MIT"),
    (r"Redistribution and use in source", "BSD-3-Clause"),
)


def licences() -> dict[str, str]:
    """By package, the SPDX expression of all that `flowatlas` with all its extras needs here."""
    found: dict[str, str] = {}
    extras = metadata.metadata("flowatlas").get_all("Provides-Extra") or []
    waiting = [Requirement(f"flowatlas[{','.join(extras)}]")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if (name, frozenset(wanted.extras)) in seen:
            continue
        seen.add((name, frozenset(wanted.extras)))
        if name != "flowatlas":
            found[name] = licence(name)
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                waiting.append(needed)
    return dict(sorted(found.items()))


def licence(name: str) -> str:
    """The SPDX expression of an installed package's licence; "unknown" where nothing tells."""
    told = metadata.metadata(name)
    if "License-Expression" in told:
        return told["License-Expression"]
    classifiers = [text for text in told.get_all("Classifier") or [] if text.startswith("License ::")]
    files = metadata.files(name) or []
    texts = [file.read_text() for file in files if re.search(r"(?i)(licen[cs]e|copying)[^/]*$", str(file))]
    for text in (*classifiers, *(told.get_all("License") or []), *(text or "" for text in texts)):
        for pattern, spdx in _SPDX:
            if re.search(pattern, text):
                return spdx
    return "unknown"


def is_allowed(expression: str) -> bool:
    """Whether one side of every OR, and all of every AND, are allowed."""
    return any(
        all(part.strip("() ") in ALLOWED for part in re.split(r"\s+AND\s+", choice))
        for choice in re.split(r"\s+OR\s+", expression)
    )


if __name__ == "__main__":
    for package, expression in licences().items():
        print(f"{package:28} {expression}")  # noqa: T201
