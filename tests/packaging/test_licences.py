"""Everything that is installed with Flowatlas may be passed on with it."""

from __future__ import annotations

import pytest

from tests.packaging.licences import is_allowed, licences


def test_every_dependency_has_a_licence_that_asks_for_no_more_than_notice() -> None:
    found = licences()
    assert {name: expression for name, expression in found.items() if not is_allowed(expression)} == {}
    assert {"polars", "kafka-python", "prometheus-client", "bcrypt", "maxminddb", "altair"} <= found.keys()


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-2.0-only", True),
        ("Apache-2.0 AND BSD-2-Clause", True),
        ("MIT AND LGPL-3.0-only", False),
        ("GPL-3.0-or-later", False),
        ("unknown", False),
    ],
)
def test_expressions_are_read_as_spdx_has_them(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed
