"""Objects against Kubernetes' own schemas, strictly: a field that is not in them is wrong. Other kinds are left out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from .cases import Object

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the validator's own libraries deprecate each other
    import kubernetes_validate

VERSIONS: Final = ("1.30", "1.35", "1.37")


def wrong(found: Iterable[Object]) -> list[str]:
    """What is wrong, by object."""
    return [problem for item in found for problem in _wrong(json.dumps(item))]


@cache
def _wrong(text: str) -> list[str]:
    """What is wrong with an object. The ways to install share most, and the validator reads a version's whole schemas
    for each look."""
    return list(_problems(json.loads(text)))


def _problems(item: Object) -> Iterator[str]:
    for version in VERSIONS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            break
        except kubernetes_validate.ValidationError as error:
            yield f"{item['kind']}/{item['metadata']['name']}: {version}: {error.message}"
