"""One consistent set of metrics, made into a page at most once a format however many ask for it.

A short page is made when it is asked for. A long one takes a good part of a second, so a thread makes it as soon as the
metrics are published, where somebody is expected to ask (`prepare`); who asks while it does has the page before, if
that was the newest until a little while ago. Nothing here knows HTTP. The invariants: whoever reads gets the bytes of
one publication as a whole, in one format never of one before what anybody got, and `publish` waits for nobody.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..aggregate.samples import Samples
from .exposition import Format, Renderer
from .foresight import Foresight
from .pages import Page, PageMaker

LONG_SERIES: Final = 5_000
"""A page of so many series is long."""
WHILE_SECONDS: Final = 5.0
"""So long a page may still be had after another was published, while that is made: on a machine that is overloaded
this takes seconds."""
_AHEAD: Final = 1.5
"""A page is made if it is expected to be asked for within so many times what passes between publications."""
_MOST_SECONDS: Final = 60.0
"""More does not pass between publications, as far as that is concerned."""


@dataclass(frozen=True, slots=True)
class _Published:
    """What was published, as the how many-th, and when."""

    number: int = 0
    metrics: Sequence[Samples] = ()
    at_s: float = -math.inf

    @property
    def is_long(self) -> bool:
        return sum(samples.series for samples in self.metrics) >= LONG_SERIES


@dataclass(frozen=True, slots=True)
class _Made:
    """The page of a publication; its text too, where it is short."""

    of: _Published
    page: Page
    text: bytes | None


class Publication:
    """The metrics published last. `publish` replaces them; `text` and `gzipped` are of them, or of the ones before."""

    def __init__(self) -> None:
        self._published = _Published()
        self._gap_s = 0.0
        """What passed between the last two publications."""
        self._made: dict[Format, _Made] = {}
        self._making = threading.Lock()
        self._renderer = Renderer()
        self._maker = PageMaker()
        self._changed = threading.Condition()
        self._foresight: dict[Format, Foresight] = {}
        self._due: dict[Format, int] = {}
        """By format the publication whose page is to be made, or was."""
        self.is_preparing = False
        """Whether a thread makes pages ahead."""
        self.pages_s = 0.0
        """What pages took until now of the processor, which whoever counts has no use of meanwhile."""

    def publish(self, metrics: Sequence[Samples]) -> None:
        """Let `metrics` be what readers see from now on; costs nothing until somebody reads, or is expected to."""
        with self._changed:
            before, now_s = self._published, time.monotonic()
            self._published = _Published(before.number + 1, metrics, now_s)
            self._gap_s = min(now_s - before.at_s, _MOST_SECONDS)
            if self.is_preparing and self._published.is_long:
                until_s = now_s + _AHEAD * self._gap_s
                due = [form for form, foresight in self._foresight.items() if foresight.expects(now_s, until_s)]
                self._due = dict.fromkeys(due, self._published.number)
                self._changed.notify_all()
            self._made = {form: made for form, made in self._made.items() if form in self._due}

    def text(self, form: Format = "text", by: str = "") -> bytes:
        """The exposition text; `by` tells who asks from who else does."""
        body = self.body(form, by)
        return body.text() if isinstance(body, Page) else body

    def body(self, form: Format = "text", by: str = "") -> bytes | Page:
        """The exposition text, where it is long as a page, which who sends it unpacks."""
        made = self._at_hand(form, by)
        return made.page if made.text is None else made.text

    def gzipped(self, form: Format = "text", by: str = "") -> bytes:
        """The exposition text, compressed."""
        return self._at_hand(form, by).page.gzipped

    def prepare(self, stop: threading.Event) -> None:
        """Make long pages before they are asked for, until `stop` is set and `wake` was called; for a thread."""
        with self._changed:
            self.is_preparing = True
        while True:
            with self._changed:
                self._changed.wait_for(lambda: stop.is_set() or self._awaited())
                due = self._awaited()
                if stop.is_set():
                    self.is_preparing = False
                    return
            for form in due:
                self._make(form)

    def wake(self) -> None:
        """Let `prepare` see that it is to stop."""
        with self._changed:
            self._changed.notify_all()

    def _awaited(self) -> list[Format]:
        """Formats whose page is due and not made."""
        return [
            form for form, number in self._due.items() if form not in self._made or self._made[form].of.number < number
        ]

    def _at_hand(self, form: Format, by: str) -> _Made:
        with self._changed:
            now_s = time.monotonic()
            self._foresight.setdefault(form, Foresight()).asked(by, now_s)
            made, published = self._made.get(form), self._published
            is_coming = self.is_preparing and self._due.get(form) == published.number
            if made is not None and is_coming and now_s - made.of.at_s < self._gap_s + WHILE_SECONDS:
                return made
        return self._make(form)

    def _make(self, form: Format) -> _Made:
        """The page of what is published now."""
        with self._making:
            with self._changed:
                published, made = self._published, self._made.get(form)
            if made is None or made.of is not published:
                began_s = time.thread_time()
                page = self._maker.page(self._renderer.parts(published.metrics, form))
                made = _Made(published, page, None if published.is_long else page.text())
                with self._changed:
                    self._made[form] = made
                    self.pages_s += time.thread_time() - began_s
            return made
