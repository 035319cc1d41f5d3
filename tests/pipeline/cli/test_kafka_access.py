"""How commands come by their settings for Kafka: from file and environment, for a kafka:// bus alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.errors import ConfigError
from pipeline.cli.kafka_access import kafka_options
from pipeline.cli.main import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "flowatlas.yaml"
    file.write_text("kafka: {security_protocol: SASL_SSL, mechanism: PLAIN, username: from-file, ca_file: /ca.pem}\n")
    return file


def test_file_and_environment_are_merged_and_a_folder_needs_neither(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWATLAS_KAFKA_USERNAME", "from-environment")
    monkeypatch.setenv("FLOWATLAS_KAFKA_PASSWORD", "seekrit")
    options = kafka_options("kafka://k:9092", file)
    assert (options["sasl_plain_username"], options["ssl_cafile"]) == ("from-environment", "/ca.pem")
    assert options["sasl_plain_password"].read() == "seekrit"
    monkeypatch.delenv("FLOWATLAS_KAFKA_PASSWORD")
    with pytest.raises(ConfigError, match=r"^kafka\.password_file: "):
        kafka_options("kafka://k:9092", file)
    assert kafka_options("file:///bus", file) == {}


def test_config_print_does_not_show_the_password(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWATLAS_KAFKA_PASSWORD", "seekrit")
    assert main(["config", "print", "kafka", "--config", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "username: from-file" in printed
    assert "password: (not shown)" in printed
    assert "seekrit" not in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ("pipeline", "--bus", "kafka://127.0.0.1:1", "--state", "bus"),
        ("collect", "--bus", "kafka://127.0.0.1:1", "--node", "n1"),
        ("watch", "--bus", "kafka://127.0.0.1:1"),
        ("topics", "check", "--bus", "kafka://127.0.0.1:1"),
    ],
)
def test_every_command_that_speaks_kafka_reads_them(
    arguments: tuple[str, ...], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The password that is missing is what they end with."""
    assert main([*arguments, "--config", str(file)]) == 2
    assert "kafka.password_file: PLAIN needs it" in capsys.readouterr().err
