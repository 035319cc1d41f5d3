"""What the watcher tells of itself."""

from __future__ import annotations

from typing import Final

from .metric import Metric

METRICS: Final = tuple(
    Metric(
        f"flowatlas_watcher_{name}",
        "counter" if name.endswith("_total") else "gauge",
        unit,
        labels,
        text,
        "fine",
        "watcher",
    )
    for name, unit, labels, text in (
        ("batches_total", "", ("table",), "Batches sent to the bus."),
        ("rows_total", "", ("table",), "Rows sent to the bus."),
        (
            "lost_rows_total",
            "",
            ("table", "reason"),
            "Rows that did not reach the bus, by reason: bus_full, bus_error, too_large. Each is made good by a new "
            "epoch.",
        ),
        ("objects", "", ("kind",), "Objects that the cluster has, by kind."),
        ("changes_total", "", ("kind",), "Objects put or deleted, those of the first listing included."),
        (
            "relists_total",
            "",
            ("kind", "reason"),
            "Lists of all objects of a kind, by reason: start, expired (the server keeps no changes so old), "
            "page_expired, malformed.",
        ),
        (
            "errors_total",
            "",
            ("kind", "reason"),
            "Questions that the API server did not answer, by reason: connection, timeout, server, throttled, "
            "unauthorized, forbidden, refused, credentials, malformed, empty (a list without any of many objects that "
            "were known, which is asked for again for a minute). No kind: the question which kinds there are.",
        ),
        (
            "stale_events_total",
            "",
            ("kind",),
            "Events older than what was known already, which a server tells that lags behind; they change nothing.",
        ),
        (
            "malformed_objects_total",
            "",
            ("kind",),
            "Objects left out because they are not what their kind should be; of policies, the name is told.",
        ),
        (
            "epochs_total",
            "",
            ("reason",),
            "Times that all objects were sent, by reason: start, full, lost, clock (it was set back).",
        ),
        ("current", "", ("kind",), "1 while a watch of the kind stands, 0 while the API server is being asked again."),
        (
            "last_mark_timestamp_seconds",
            "seconds",
            (),
            "Up to when every change was sent, as Unix time; time() minus this is how old the cluster's state is.",
        ),
    )
)
