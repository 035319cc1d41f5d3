"""Everything that can go wrong in the lab goes wrong at once, and each is noticed: alert, panel, command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.demo import trouble
from deploy.demo.misdeeds import TROUBLES
from deploy.demo.running import Options


@pytest.mark.root
@pytest.mark.prometheus
def test_every_misdeed_is_noticed(tmp_path: Path) -> None:
    """Takes three minutes: a collector is silent after two."""
    options = Options(output=tmp_path / "demo", duration_s=30.0, source="ebpf")
    notices = trouble.run(options, list(TROUBLES))
    assert [notice.trouble.misdeed for notice in notices if not notice.is_firing] == []
    assert [notice.trouble.misdeed for notice in notices if notice.is_shown is False] == []
    assert [notice.trouble.misdeed for notice in notices if notice.is_found is False] == []
