"""Joining a group over several polls: what was begun by one is ended by the next.

kafka-python (3.0.12) goes on with a join in the next poll, but not always. An answer that comes between two polls is
thrown away and the group asked anew, so that all other members have to join anew too. And a leader that had news of
topics for a reason takes itself for done as soon as it has made its plan: it waits for ever then, without partitions
and without an error. The client has no public way to mend either. The invariant: whoever has begun to join polls on
until the group's answer is taken, and asks once, as long as the answer holds.
"""

from __future__ import annotations

import time
from typing import Any

from kafka.structs import MemberState


def join_patiently(consumer: Any, session_s: float) -> None:
    """Let the consumer's joins take as many polls as they need; an answer holds for `session_s`."""
    coordinator = consumer._coordinator
    ask = coordinator._do_join_and_sync_async
    answer: bytes | None = None
    generation: object = None
    answered_at = 0.0

    async def join() -> bytes:
        nonlocal answer, generation, answered_at
        is_untaken = coordinator.state is MemberState.REBALANCING and coordinator._generation is generation
        if answer is not None and is_untaken and time.monotonic() - answered_at < session_s:
            return answer
        coordinator.request_rejoin()  # holds until the answer is taken
        answer = None
        told: bytes = await ask()
        answer, generation, answered_at = told, coordinator._generation, time.monotonic()
        return told

    coordinator._do_join_and_sync_async = join
