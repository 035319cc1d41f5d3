"""Settings of the lake: options, secrets from files alone, and what is kept how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.lake.settings import parse_keep, parse_options


def test_what_to_keep_is_said_by_table() -> None:
    assert parse_keep(["flows=7d", "dns=3"]) == {"flows": 7, "dns": 3}
    for wrong in ("flows", "flows=", "nothing=3", "flows=0"):
        with pytest.raises(ConfigError, match="keep"):
            parse_keep([wrong])


def test_options_are_pairs_and_secrets_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cr3t\n")
    texts = ["aws_endpoint_url=http://127.0.0.1:1", f"aws_secret_access_key=@{tmp_path / 'key'}"]
    assert parse_options([*texts, "aws_access_key_id=me"]) == {
        "aws_endpoint_url": "http://127.0.0.1:1",
        "aws_secret_access_key": "s3cr3t",
        "aws_access_key_id": "me",
    }
    for wrong in ("aws_secret_access_key=s3cr3t", "azure_storage_account_key=abc", "aws_session_token=x"):
        with pytest.raises(ConfigError, match="file") as refused:
            parse_options([wrong])
        assert wrong.partition("=")[2] not in str(refused.value).split()
    for wrong in ("nothing", "=x", f"key=@{tmp_path / 'absent'}"):
        with pytest.raises(ConfigError, match="lake_options"):
            parse_options([wrong])
