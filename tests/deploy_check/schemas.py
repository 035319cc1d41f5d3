"""Objects against Kubernetes' own schemas, strictly: a field that is not in them is wrong. Other kinds are left out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Final

from .cases import Object

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the validator's own libraries deprecate each other
    import kubernetes_validate

VERSIONS: Final = ("1.30", "1.35", "1.37")


def wrong(found: Iterable[Object]) -> list[str]:
    """What is wrong, by object."""
    problems = []
    for item in found:
        for version in VERSIONS:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                break
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{item['kind']}/{item['metadata']['name']}: {version}: {error.message}")
    return problems
