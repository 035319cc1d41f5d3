"""Fixed shares cover every partition once, however they are divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bus import open_reader
from pipeline.bus.share import Share, parse_share
from pipeline.errors import ConfigError


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 400))
def test_each_partition_is_one_workers_of_one_pipeline(pipelines: int, workers: int, partition: int) -> None:
    shares = [Share(i, pipelines) for i in range(pipelines)]
    divided = [share.divided(worker, workers) for share in shares for worker in range(workers)]
    assert len({str(part) for part in divided}) == pipelines * workers
    assert [part.takes(partition) for part in divided].count(True) == 1
    (whole,) = [share for share in shares if share.takes(partition)]
    assert any(whole.divided(worker, workers).takes(partition) for worker in range(workers))


@pytest.mark.parametrize(
    ("text", "environ", "share"),
    [
        ("group", {}, None),
        ("0/1", {}, Share(0, 1)),
        ("2/3", {"POD_NAME": "x-1"}, Share(2, 3)),
        ("ordinal/3", {"POD_NAME": "flowatlas-pipeline-2", "HOSTNAME": "x-0"}, Share(2, 3)),
        ("ordinal/12", {"HOSTNAME": "pipeline-11"}, Share(11, 12)),
    ],
)
def test_a_share_is_told_or_is_the_number_of_the_pod(text: str, environ: dict[str, str], share: Share | None) -> None:
    assert parse_share(text, environ) == share


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("3/3", {}),
        ("0/0", {}),
        ("1", {}),
        ("-1/3", {}),
        ("0/99999", {}),
        ("ordinal/2", {"POD_NAME": "pipeline-2"}),
        ("ordinal/2", {"POD_NAME": "pipeline"}),
        ("ordinal/2", {"POD_NAME": "pipeline-5f8d2"}),
        ("ordinal/2", {}),
    ],
)
def test_what_is_no_share_is_refused(text: str, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"^pipeline\.partitions: "):
        parse_share(text, environ)


def test_a_folder_is_not_shared() -> None:
    open_reader("file:///nowhere", "group", ["topic"], share=Share(0, 1))
    with pytest.raises(ConfigError, match="only kafka://"):
        open_reader("file:///nowhere", "group", ["topic"], share=Share(0, 2))
