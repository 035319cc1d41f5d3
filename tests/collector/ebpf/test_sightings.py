"""What a sighting counts, beside what was missed, and from whose point of view."""

from __future__ import annotations

import numpy as np
import pytest

from collector.ebpf.layout import CONVERSATION, COUNTS, CT_LOCAL_OPENS, CT_REMOTE_OPENS, MISSED_BOTH, MISSED_EGRESS
from collector.ebpf.live import Keys
from collector.ebpf.sightings import sight


def none_live(keys: Keys) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.zeros(len(keys), np.bool_)


@pytest.mark.parametrize(
    ("flag", "side", "expected"),
    [
        (0, CT_LOCAL_OPENS, (5, 3)),
        (0, CT_REMOTE_OPENS, (3, 5)),
        (MISSED_EGRESS, CT_LOCAL_OPENS, (5, 0)),  # answers were missed where they came in
        (MISSED_BOTH, CT_REMOTE_OPENS, (0, 0)),  # the opener's interface had no place
    ],
)
def test_what_is_among_the_missed_is_not_counted_again(flag: int, side: int, expected: tuple[int, int]) -> None:
    flows, counts = np.zeros(2, CONVERSATION), np.zeros(2, COUNTS)
    flows["protocol"], flows["local_port"], flows["ifindex"] = 17, [1, 2], 7
    counts["conntrack"], counts["packets"], counts["bytes"] = side, (5, 3), (500, 300)
    counts["flags"][1] = flag
    part = sight(flows, counts, set(), none_live).part(np.array([1]))
    told = part.counters(np.array([0]))
    assert tuple(int(told[name][0]) for name in ("packets", "reply_packets")) == expected
    assert tuple(int(told[name][0]) for name in ("bytes", "reply_bytes")) == tuple(100 * n for n in expected)
    untouched = sight(flows, counts, set(), none_live).part(np.array([0])).counters(np.array([0]))
    assert {int(untouched["packets"][0]), int(untouched["reply_packets"][0])} == {5, 3}
