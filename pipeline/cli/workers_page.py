"""One page of what several workers expose: each is asked at each scrape; who does not answer soon is shown as it was.

A sum over workers must not fall because one of them hangs, and a gauge that grows old must be seen to: so the numbers
that a worker gave last stay, and beside them how old they are; also while its successor serves and has nothing to show
yet. The invariants: a scrape takes little more than ANSWER_SECONDS whatever the workers do, once each has answered one;
and a worker is asked by one request at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as await_all
from dataclasses import dataclass
from typing import Final, Protocol

from ..aggregate.samples import samples_of
from ..catalog import BY_NAME
from ..outputs.exposition import Format, Renderer
from ..outputs.merged import merged
from ..outputs.pages import Page, PageMaker
from ..outputs.publication import Publication
from .worker import SCRAPE_SECONDS, End

ANSWER_SECONDS: Final = 1.0
"""So long a scrape waits for workers that have answered before; their answers may come until the next scrape."""
KEPT_SECONDS: Final = 300.0
"""Numbers so old are shown no more: Prometheus too takes a series for gone that was silent for five minutes."""

_NOTHING: Final = len(b"# EOF\n")
"""No longer is a page without any series, in either format."""
_RESTARTS: Final = BY_NAME["flowatlas_pipeline_worker_restarts_total"]
_AGE: Final = BY_NAME["flowatlas_pipeline_worker_answer_age_seconds"]


class Asked(Protocol):
    """A worker, as far as it is asked."""

    name: str

    @property
    def ends(self) -> Mapping[End, int]:
        """How often it ended, by why."""

    def page(self, form: Format) -> bytes | None:
        """What it exposes, compressed by gzip; None where it does not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A page and when it came."""

    page: Page
    at_s: float


class LastPage:
    """The pages of one worker in one format: the one it is asked for, and the one that it gave last."""

    def __init__(self, worker: Asked, form: Format, pool: ThreadPoolExecutor) -> None:
        self._worker = worker
        self._form = form
        self._pool = pool
        self._lock = threading.Lock()
        self._asking: Future[None] | None = None
        self._last: Answer | None = None

    def ask(self) -> Future[None]:
        """Ask for the page, unless an earlier request is still open: then what that brings is the answer."""
        with self._lock:
            if self._asking is None or self._asking.done():
                self._asking = self._pool.submit(self._take)
            return self._asking

    def last(self, now_s: float) -> Answer | None:
        """What it gave last; None where that is too old, or nothing has come yet."""
        with self._lock:
            if self._last is not None and now_s - self._last.at_s > KEPT_SECONDS:
                self._last = None
            return self._last

    def _take(self) -> None:
        given = self._worker.page(self._form)
        page = Page.of(given) if given is not None else None
        if page is not None and page.length > _NOTHING:
            with self._lock:
                self._last = Answer(page, time.monotonic())


class WorkersPublication(Publication):
    """What all workers expose, how old that is, and how often each was replaced."""

    def __init__(self, workers: Sequence[Asked]) -> None:
        super().__init__()
        self._workers = workers
        self._began_s = time.monotonic()
        formats: tuple[Format, ...] = ("text", "openmetrics")
        self._pool = ThreadPoolExecutor(len(workers) * len(formats), "scrape")  # each may hang at once
        self._merging = threading.Lock()
        """One page is made at a time, however many ask."""
        self._pages = {form: [LastPage(worker, form, self._pool) for worker in workers] for form in formats}

    def body(self, form: Format = "text", by: str = "") -> Page:
        """The exposition text, as a page: so many workers' text is never there as a whole once more."""
        began_s = time.monotonic()
        pages = self._pages[form]
        asked = [page.ask() for page in pages]
        are_known = [page.last(began_s) is not None for page in pages]
        await_all([future for future, is_known in zip(asked, are_known, strict=True) if is_known], ANSWER_SECONDS)
        await_all([future for future, is_known in zip(asked, are_known, strict=True) if not is_known], SCRAPE_SECONDS)
        now_s = time.monotonic()
        answers = {worker.name: page.last(now_s) for worker, page in zip(self._workers, pages, strict=True)}
        ages: dict[tuple[str, ...], float] = {
            (name,): self._age(answer, began_s, now_s) for name, answer in answers.items()
        }
        ends: dict[tuple[str, ...], int] = {
            (worker.name, why): count for worker in self._workers for why, count in worker.ends.items()
        }
        own = Renderer().render([samples_of(_AGE, ages), samples_of(_RESTARTS, ends)], form)
        given = {name: answer.page for name, answer in answers.items() if answer is not None}
        with self._merging:
            return PageMaker().page(merged(given, own))

    def gzipped(self, form: Format = "text", by: str = "") -> bytes:
        """The exposition text, compressed."""
        return self.body(form, by).gzipped

    def _age(self, answer: Answer | None, began_s: float, now_s: float) -> float:
        """How old numbers are in a scrape that began then: nothing if they came in it; where there are none, how long
        there have been none."""
        if answer is None:
            return now_s - self._began_s
        return 0.0 if answer.at_s >= began_s else now_s - answer.at_s
