"""The demo with misdeeds: a calm while, then the misdeeds, and whether alert, panel and command line notice each.

The truth is not compared here: what a misdeed makes of ordinary traffic is no plan's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from deploy.lab.misdeeds import MISDEEDS
from pipeline.cli.terminal import GREEN, PLAIN, RED, is_coloured

from .aside import HEALTH, Aside
from .misdeeds import PIPELINE_DOWN, SILENT_COLLECTOR, SPARE, TROUBLES, Found, Panel, Trouble, told
from .processes import CHECKOUT, DemoError, Process, fetch, free_port
from .quickened import HOLD, WINDOWS, quickened
from .running import Options, Running, collector, running
from .table import Progress, table

CALM_S: Final = 40.0
"""As long as the quickened offsets reach back."""
SILENCE_S: Final = 150.0
"""A silent collector is one from whom nothing came for two minutes, which no rule shortens."""
PATIENCE_S: Final = 120.0
"""Some things are judged half a minute of traffic later: whether session affinity was kept."""
MEANWHILE_S: Final = 5.0
FEW: Final = 6
PRICES: Final = "currency: EUR\nper_gigabyte:\n  cross_zone: {egress: 10, ingress: 10}\n"
"""A thousand times what clouds take, so that some megabytes are a bill."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Whether a misdeed was noticed. None where there is no panel of it, or no check looks for it."""

    trouble: Trouble
    is_firing: bool
    is_shown: bool | None
    is_found: bool | None

    @property
    def ok(self) -> bool:
        """Whether all that should say it do."""
        return self.is_firing and self.is_shown is not False and self.is_found is not False


def run(options: Options, names: Sequence[str]) -> list[Notice]:
    """Misbehave and look. Raises DemoError where a part does not come up or there is no Prometheus."""
    from dashboards.rules import to_text

    troubles = [TROUBLES[name] for name in names]
    progress = Progress()
    with ExitStack() as stack:
        aside = Aside(names, options.output / "aside")
        rules = quickened(to_text())
        up = stack.enter_context(
            running(options, progress, prices=PRICES, rules=rules, aside=aside.addresses, kept=HEALTH)
        )
        if up.server is None:
            raise DemoError("misdeeds are noticed by alerts: Prometheus is needed (Debian package prometheus)")
        progress.step(f"alert rules are loaded, quickened: for {HOLD}, {_windows()}; thresholds are as they are")
        firing = _Firing(f"http://{up.listen.prometheus}", up, progress)
        ended_s = _let_fall_silent(stack, up) if SILENT_COLLECTOR in names else 0.0
        aside.begin(stack, up)
        progress.step(f"{CALM_S:.0f} s of ordinary traffic")
        misdeeds = [MISDEEDS[name] for name in names if name in MISDEEDS]
        up.lab.traffic(CALM_S, firing.look, [misdeed.traffic for misdeed in misdeeds if misdeed.is_usual])
        progress.step(f"misdeeds, for {options.duration_s:.0f} s: {_told_of(names)}")
        before = [trouble.misdeed for trouble in troubles if firing.has(trouble)]
        up.lab.misbehave(misdeeds)
        aside.go_on(stack, up)
        up.lab.traffic(options.duration_s, firing.look)
        progress.step("traffic has ended; waiting for the alerts")
        deadline = max(time.monotonic() + PATIENCE_S, ended_s + SILENCE_S)
        awaited = [trouble for trouble in troubles if trouble.misdeed != PIPELINE_DOWN]
        while not all(map(firing.has, awaited)) and time.monotonic() < deadline:
            up.lab.traffic(MEANWHILE_S, firing.look)
        found = {command: _findings(command, up, aside) for command in ("doctor", "status")}
        shown = {trouble.misdeed: _is_shown(trouble.panel, firing.prometheus) for trouble in troubles if trouble.panel}
        if PIPELINE_DOWN in names:
            progress.step("last of all: the pipeline stands still")
            _hold_still(up.pipeline, firing, TROUBLES[PIPELINE_DOWN])
        notices = [
            Notice(
                trouble,
                firing.has(trouble),
                shown.get(trouble.misdeed),
                _is_found(trouble.finding, found) if trouble.finding else None,
            )
            for trouble in troubles
        ]
        print("\n" + report(notices, before), flush=True)
        if options.keep:
            print(f"\nStaying up, with traffic and misdeeds. Prometheus: http://{up.listen.prometheus}/alerts")
            print(f"Metrics: http://{up.listen.pipeline}/metrics\nCtrl-C ends it.", flush=True)
            while True:
                up.lab.traffic(30.0, firing.look)
    return notices


class _Firing:
    """The alerts that have fired so far: some fire for a moment alone."""

    def __init__(self, prometheus: str, up: Running, progress: Progress) -> None:
        self.prometheus = prometheus
        self._up = up
        self._progress = progress
        self._seen: list[Mapping[str, str]] = []

    def look(self, seconds: float, connections: int) -> None:
        """Ask Prometheus."""
        self._up.check()
        answer = json.loads(fetch(f"{self.prometheus}/api/v1/alerts") or '{"data": {"alerts": []}}')
        for alert in answer["data"]["alerts"]:
            if alert["state"] == "firing" and alert["labels"] not in self._seen:
                self._seen.append(alert["labels"])
        if connections:
            self._progress.update(f"{seconds:.0f} s, {connections} connections, {len(self._seen)} alerts have fired")

    def has(self, trouble: Trouble) -> bool:
        """Whether the trouble's alert fired with its labels."""
        wanted = {"alertname": trouble.alert, **trouble.labels}.items()
        return any(wanted <= labels.items() for labels in self._seen)


def _let_fall_silent(stack: ExitStack, up: Running) -> float:
    """Start one more collector, which tells of a node's interfaces, and end it once the pipeline has heard of it."""
    node = up.lab.nodes[0]
    listen = f"127.0.0.1:{free_port()}"
    spare: Process = stack.enter_context(
        collector(up.options, up.bus, SPARE, node.netns, node.proc, listen, "counters")
    )
    deadline = time.monotonic() + 90
    while f'node="{SPARE}"' not in (fetch(f"http://{up.listen.pipeline}/metrics") or ""):
        spare.check()
        if time.monotonic() > deadline:
            raise DemoError(f"the pipeline heard nothing of {SPARE}; its log: {spare.log}")
        time.sleep(0.25)
    spare.stop()
    return time.monotonic()


def _hold_still(pipeline: Process, firing: _Firing, trouble: Trouble) -> None:
    """Until the alert fires; then it goes on."""
    pipeline.pause()
    deadline = time.monotonic() + PATIENCE_S
    while not firing.has(trouble) and time.monotonic() < deadline:
        time.sleep(0.5)
        firing.look(0.0, 0)
    pipeline.resume()


def _findings(command: str, up: Running, aside: Aside) -> list[dict[str, Any]]:
    """What `flowatlas doctor` or `status` says of the run, and of what is aside, as JSON."""
    if command == "doctor":
        server = f"--server=http://{up.listen.pipeline}"
        return _asked(command, server, "--state", str(up.lab.manifests), "--lake", str(up.lake))
    return [finding for question in aside.asked(up.listen.pipeline) for finding in _asked(command, *question)]


def _asked(command: str, *arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", command, *arguments, "-o", "json"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise DemoError(f"flowatlas {command}: {done.stderr.strip()}")
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return findings


def _is_found(wanted: Found, findings: Mapping[str, list[dict[str, Any]]]) -> bool:
    return any(
        finding["check"] == wanted.check
        and finding["subject"].startswith(wanted.subject)
        and wanted.says in finding["problem"]
        for finding in findings[wanted.command]
    )


def _is_shown(panel: Panel, prometheus: str) -> bool:
    """Whether the panel's query, with All chosen, has a series with its labels above 0 in the minutes of the run."""
    from dashboards.prometheus import Prometheus

    now_s = time.time()
    server = Prometheus(prometheus)
    for expression, is_instant in queries(panel):
        found = server.instant(expression, now_s) if is_instant else server.range(expression, now_s - 240, now_s, 5)
        for series in found:
            values = [value for _, value in (series["values"] if "values" in series else [series["value"]])]
            if panel.labels.items() <= series["metric"].items() and any(float(value) > 0 for value in values):
                return True
    return False


def queries(panel: Panel) -> Iterator[tuple[str, bool]]:
    """The panel's queries with All chosen, and whether each is asked for one instant.

    Raises KeyError where there is no such panel.
    """
    from dashboards.build import GENERATED
    from dashboards.lint import panels_of
    from dashboards.promql import substitute
    from dashboards.variables import ALL

    document = json.loads((GENERATED / f"{panel.dashboard}.json").read_text())
    values = {variable["name"]: ALL for variable in document["templating"]["list"]}
    values |= {"__rate_interval": "15s", "__interval": "15s", "__range": "300s"}
    found = [each for each in panels_of(document) if each["title"] == panel.title]
    if not found:
        raise KeyError(f"{panel.dashboard} has no panel {panel.title!r}")
    for target in found[0]["targets"]:
        yield substitute(target["expr"], values), bool(target.get("instant"))


def _told_of(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= FEW else f"{len(names)} of them at once"


def _windows() -> str:
    return ", ".join(f"{length} is {quick}" for length, quick in WINDOWS.items())


def _shown_by(trouble: Trouble) -> str:
    return f"{trouble.panel.dashboard}, {trouble.panel.title}" if trouble.panel else ""


def _found_by(trouble: Trouble) -> str:
    return f"{trouble.finding.command}, {trouble.finding.subject}" if trouble.finding else ""


def report(notices: Sequence[Notice], before: Sequence[str]) -> str:
    """What was noticed, as a table; `before` are the misdeeds whose alert the ordinary traffic sets off too."""

    def said(is_so: bool | None, what: str) -> str:
        return f"yes: {what}" if is_so else "-" if is_so is None else f"NO: {what}"

    rows = [
        (
            notice.trouble.misdeed,
            said(notice.is_firing, notice.trouble.alert),
            said(notice.is_shown, _shown_by(notice.trouble)),
            said(notice.is_found, _found_by(notice.trouble)),
        )
        for notice in notices
    ]
    lines = [table(("misdeed", "alert fires", "panel shows it", "found by"), rows), ""]
    lines += [f"  {notice.trouble.misdeed}: {told(notice.trouble.misdeed)}" for notice in notices]
    if before:
        lines.append(f"  fired before the misdeeds too, of the lab's ordinary mishaps: {', '.join(before)}")
    is_ok = all(notice.ok for notice in notices)
    colour = (GREEN if is_ok else RED) if is_coloured(sys.stdout) else ""
    lines.append(f"  {colour}{'OK' if is_ok else 'NOT OK'}{PLAIN if colour else ''}")
    return "\n".join(lines)
