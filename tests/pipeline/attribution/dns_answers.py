"""DNS batches for tests, from answers as text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collector.schema import DNS, Batch, encode
from pipeline.inventory.addresses import NO_ADDRESS, parse

SECOND = 10**9
FRONT = "10.0.1.5"
SITE = "203.0.113.7"


@dataclass(frozen=True)
class Answer:
    name: str
    at: int
    """Seconds; so are all times here."""
    client: str = FRONT
    address: str = SITE
    ttl: int = 10
    rcode: int = 0
    server: str = "10.96.0.10"
    kind: int = 1
    """The question's type."""
    latency_ns: int = 250_000
    is_first: bool = True
    """Whether the row is the one that counts the exchange."""


def batch_of(answers: list[Answer], seq: int = 0) -> Batch:
    """The batch that a collector would send of these."""

    def halves(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        pairs = [parse(text) if text else NO_ADDRESS for text in texts]
        return np.array([hi for hi, _ in pairs], np.uint64), np.array([lo for _, lo in pairs], np.uint64)

    client, server = halves([a.client for a in answers]), halves([a.server for a in answers])
    address = halves([a.address for a in answers])
    columns: dict[str, np.ndarray | list[str]] = {
        "time": np.array([a.at * SECOND for a in answers], np.int64),
        "client_hi": client[0],
        "client_lo": client[1],
        "server_hi": server[0],
        "server_lo": server[1],
        "protocol": np.full(len(answers), 17, np.uint8),
        "question": [a.name for a in answers],
        "type": np.array([a.kind for a in answers], np.uint16),
        "rcode": np.array([a.rcode for a in answers], np.uint8),
        "latency_ns": np.array([a.latency_ns for a in answers], np.uint64),
        "exchanges": np.array([a.is_first for a in answers], np.uint8),
        "answer_hi": address[0],
        "answer_lo": address[1],
        "ttl_s": np.array([a.ttl for a in answers], np.uint32),
    }
    return Batch(DNS.name, "node-a", 1, seq, len(answers), 0, encode(DNS, columns))
