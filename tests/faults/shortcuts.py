"""Mistakes that fit what is done for many batches at once, as `planted` has others: each is planted for one trial."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from collector.schema import BatchError
from pipeline.batches import BatchLedger
from pipeline.bus import kafka_records
from pipeline.bus.kafka_records import MessageRecords
from pipeline.decode import merged
from pipeline.intake import Intake
from pipeline.pacing import FAR_BEHIND, Pace
from pipeline.watermarks import Arrivals, Watermarks
from tests.faults.planted import Plant, puts


def remembers_all_headers(patched: pytest.MonkeyPatch) -> None:
    """Also the number of the batch is taken from the last one of its node."""
    known: dict[bytes, Any] = {}

    def read(was: Any, content: bytes) -> Any:
        first = content[: content.find(b"\x06seq")]
        if first not in known:
            known[first] = was(content)
        return known[first] and dict(known[first])

    puts(kafka_records, "headers_of", read)(patched)


def skips_what_was_cut(unpack: Any, records: MessageRecords, tp: Any, answer: Any, *more: Any) -> Iterator[Any]:
    data, at = bytes(answer._buffer), 0
    while len(data) - at > 12:
        at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
    yield from unpack(records, tp, answer, *more)
    records.next_fetch_offset += at != len(data)


def cuts_the_first(cut: Any, *arguments: Any) -> Any:
    messages = cut(*arguments)
    return messages and messages[:1]


def asks_the_ledger_once_a_poll(take: Any, intake: Intake, messages: Any, rows: Any) -> Any:
    """What comes twice within one is new twice."""
    before = copy.deepcopy(intake._ledger)
    answers = iter([copy.deepcopy(before).accept(name) for name in rows.names])
    accept = BatchLedger.accept
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(BatchLedger, "accept", lambda ledger, name: accept(ledger, name) is None or next(answers))
        return take(intake, messages, rows)


def refuses_all_with_one(sound: Any, intake: Intake, group: Any) -> Iterator[Any]:
    """Where one batch of a poll lies, none of them is looked at by itself."""
    try:
        rows = merged([opened for _, opened in group])
    except BatchError as error:
        for message, _ in group:
            intake._refuse(message, error)
    else:
        yield [message for message, _ in group], rows


def judges_by_the_poll_before(see: Any, marks: Watermarks, partitions: Any, times: Any, sizes: Any, now_ns: int) -> Any:
    """Rows are late by what was known before their poll."""
    before, start, late = dict(marks._reached), 0, []
    arrivals = see(marks, partitions, times, sizes, now_ns)
    for partition, size in zip(partitions, sizes, strict=True):
        oldest = before.get(partition, 0) - marks._lateness_ns
        late.append(int((times[start : start + size] < oldest).sum()))
        start += size
    return Arrivals(late, arrivals.is_ahead)


def never_while_behind(due_at: Any, pace: Pace, waiting: int) -> float:
    return math.inf if waiting >= FAR_BEHIND else float(due_at(pace, waiting))


MISTAKES: Final[Mapping[str, tuple[str, Plant]]] = {
    "headers that begin alike are alike": ("in records", remembers_all_headers),
    "what a broker cut off is taken for read": (
        "in records",
        puts(MessageRecords, "_unpack_records", skips_what_was_cut),
    ),
    "of records that came together the first is cut out": ("in records", puts(kafka_records, "_cut", cuts_the_first)),
    "where one batch lies its poll is refused": ("in records", puts(Intake, "_sound", refuses_all_with_one)),
    "what comes twice in a poll is new twice": ("disorder", puts(Intake, "_new", asks_the_ledger_once_a_poll)),
    "late is what was late before a poll": ("late", puts(Watermarks, "see", judges_by_the_poll_before)),
    "nothing is shown while the bus is far ahead": ("far behind", puts(Pace, "due_at", never_while_behind)),
}
