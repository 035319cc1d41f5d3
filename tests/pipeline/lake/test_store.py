"""Where the tables lie: other threads go on while a file goes out to an object store, and options are as each reader
takes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.lake.store import Store
from pipeline.lake.tables import FLOWS, stored
from tests.pipeline.lake.histories import flows

EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"


class Bucket(ThreadingHTTPServer):
    """An object store in threads of this very process: it answers nobody who lets no other thread run."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.objects: dict[str, bytes] = {}


class Answers(BaseHTTPRequestHandler):
    """Whole objects, as S3 takes and gives them."""

    server: Bucket
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.server.objects[self.path.partition("?")[0]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_HEAD(self) -> None:
        self._answer(self.server.objects[self.path])

    def do_GET(self) -> None:
        if "list-type" in self.path:  # of what is below a file there is nothing
            self._answer(EMPTY)
            return
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        whole = self.server.objects[self.path]
        begin = int(first) if first else max(len(whole) - int(last), 0)
        end = min(int(last) + 1, len(whole)) if first and last else len(whole)
        self._answer(whole[begin:end], f"bytes {begin}-{end - 1}/{len(whole)}")

    def log_message(self, form: str, *args: object) -> None:
        """Nothing to say."""

    def _answer(self, content: bytes, part: str | None = None) -> None:
        self.send_response(206 if part else 200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")
        self.send_header("ETag", '"1"')
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with Bucket() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_other_threads_run_while_a_file_goes_out(bucket: Bucket) -> None:
    """The store is one of them. What is asked of it in text is given to each client as it takes it."""
    options = {
        "aws_endpoint_url": f"http://127.0.0.1:{bucket.server_port}",
        "aws_access_key_id": "flowatlas",
        "aws_secret_access_key": "of-a-test",
        "aws_region": "us-east-1",
        "aws_allow_http": "true",
        "max_retries": "0",
        "timeout": "30s",
    }
    store = Store("s3://lake/history", options)
    rows = stored(flows(50), FLOWS)
    path = "date=2026-03-01/hour=12/settle-1-of-flowatlas~0-0123456789ab.parquet"
    size = store.write_rows(FLOWS, path, rows, {"compression": "snappy"})
    (content,) = bucket.objects.values()
    assert size == len(content)
    assert_frame_equal(pl.read_parquet(content), rows)
    assert_frame_equal(store.scan(FLOWS, [path]).collect(), rows)
