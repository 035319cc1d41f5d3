"""Reading the metrics that the demo's pipeline exposes: sums, and the moment when they stand still."""

from __future__ import annotations

import time

from .processes import DemoError, Process, fetch

UNREAD = "flowatlas_bus_lag_messages"
HELD = "flowatlas_state_held_rows"
QUIET_S = 2.5
PATIENCE_S = 120.0


def total(text: str, name: str) -> float:
    """The sum of a metric's samples in exposition text; 0 where it has none."""
    return sum(
        float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith((name + "{", name + " "))
    )


def settled(pipeline: Process, listen: str) -> str:
    """The pipeline's metrics, once all of the bus is read, no row waits for the state and nothing is added for a while.

    Raises DemoError where the pipeline ends, or goes on for two minutes.
    """
    seen, since = -1.0, time.monotonic()
    deadline = since + PATIENCE_S
    while True:
        pipeline.check()
        text = fetch(f"http://{listen}/metrics") or ""
        counted = total(text, "flowatlas_connections_total") + total(text, "flowatlas_flow_bytes_total")
        is_done = f"{UNREAD}{{" in text and total(text, UNREAD) == total(text, HELD) == 0
        if counted != seen or not is_done:
            seen, since = counted, time.monotonic()
        elif time.monotonic() - since > QUIET_S:
            return text
        if time.monotonic() > deadline:
            raise DemoError(f"the pipeline goes on counting after {PATIENCE_S:.0f} s; its log: {pipeline.log}")
        time.sleep(0.25)
