"""The chart's objects, as helm gives them for values."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from deploy.render import objects, template

Object = dict[str, Any]


def given(*values: str) -> list[Object]:
    """The objects with values as `--set` takes them, or `--set-json` where they hold brackets."""
    return objects(template(*(f"--set{'-json' if '[' in value else ''}={value}" for value in values)))


def refused(*values: str) -> str:
    """What helm says where it refuses values."""
    with pytest.raises(subprocess.CalledProcessError) as error:
        given(*values)
    return str(error.value.stderr)


def the(found: list[Object], kind: str, name: str = "") -> Object:
    (only,) = [o for o in found if o["kind"] == kind and name in o["metadata"]["name"]]
    return only
