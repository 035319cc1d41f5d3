"""A fixed share beside members of its group, as while a StatefulSet goes over from one to the other pod by pod."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.bus import Places, Reader, open_reader
from pipeline.bus.share import Share
from pipeline.errors import PermanentError, TransientError
from tests.pipeline.batches_for_tests import batch
from tests.pipeline.bus.buses import KafkaBus, put, read_to_end

pytestmark = pytest.mark.kafka


@contextmanager
def reading(bus: KafkaBus, share: Share | None, places: Places | None = None) -> Iterator[Reader]:
    reader = open_reader(f"kafka://{bus.bootstrap}", f"divided-{bus.topic}", [bus.topic], share=share)
    reader.start(places)
    try:
        yield reader
    finally:
        reader.stop()


def test_a_share_ends_where_members_join_its_group_and_begins_when_they_have_gone(bus: KafkaBus) -> None:
    whole = Share(0, 1)
    put(bus, batch())
    with reading(bus, whole) as share:
        assert len(read_to_end(share)) == 1
        share.commit()
        places = share.places()
        put(bus, batch(seq=1))
        with reading(bus, None) as member:
            assert len(read_to_end(member)) == 1
            member.commit()
            with pytest.raises(PermanentError, match="has members, which count the partitions of the fixed share 0/1"):
                share.commit()
            with pytest.raises(TransientError, match="has members"), reading(bus, whole, places):
                pass
    with reading(bus, whole, places) as share:
        read_to_end(share)
        share.commit()
