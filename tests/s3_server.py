"""An S3 server of a test's own (SeaweedFS), on loopback, with one bucket and one user."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kafka_broker import free_ports

BUCKET = "lake"
_PORTS = ("master", "volume", "filer", "s3")


@contextmanager
def s3_server(directory: Path) -> Iterator[dict[str, str]]:
    """Options of the store for one bucket named BUCKET; the key is a made-up one."""
    ports = free_ports(2 * len(_PORTS))
    identity = {
        "name": "flowatlas",
        "credentials": [{"accessKey": "flowatlas", "secretKey": "of-a-test"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    users = directory / "s3.json"
    users.write_text(json.dumps({"identities": [identity]}))
    command = [str(Path(sys.executable).parent / "weed"), "-logtostderr", "server", f"-dir={directory}", "-s3"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.volumeSizeLimitMB=64", f"-s3.config={users}"]
    for part, port, grpc in zip(_PORTS, ports[::2], ports[1::2], strict=True):
        command += [f"-{part}.port={port}", f"-{part}.port.grpc={grpc}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=20"]
    url = f"http://127.0.0.1:{ports[-2]}"
    options = {
        "aws_endpoint_url": url,
        "aws_access_key_id": "flowatlas",
        "aws_secret_access_key": "of-a-test",
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
    }
    with (directory / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _make_bucket(options, process, directory / "weed.log")
            yield options
        finally:
            process.kill()  # told to end it would wait half a minute for others of its kind
            process.wait(30)


def _make_bucket(options: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    """Make it as soon as the server answers, and wait until something can be written to it."""
    from pyarrow.fs import S3FileSystem

    files = S3FileSystem(
        access_key=options["aws_access_key_id"],
        secret_key=options["aws_secret_access_key"],
        endpoint_override=options["aws_endpoint_url"],
        region=options["aws_region"],
        allow_bucket_creation=True,
        connect_timeout=1,
        request_timeout=5,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            files.create_dir(BUCKET)
            with files.open_output_stream(f"{BUCKET}/probe") as probe:
                probe.write(b"x")
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the S3 server did not come up: {log.read_text()[-3000:]}")
