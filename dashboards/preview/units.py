"""How values read: Grafana's units as text, round numbers for an axis. Times are UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

NOTHING: Final = "–"

_LARGE: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL: Final = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_LONG: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_NAMES: Final = {
    "Bps": "B/s",
    "KBs": "kB/s",
    "bytes": "B",
    "cps": "/s",
    "ops": "/s",
    "pps": "p/s",
    "reqps": "/s",
    "rowsps": "rows/s",
    "s": "s",
    "short": "",
}
_TIME_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def text(value: float, unit: str) -> str:
    """A value of Grafana's unit `unit` as a person reads it, three digits of it."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if unit == "percentunit":
        return f"{_digits(100 * value)} %"
    if unit == "dateTimeAsIso":
        return f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    if unit == "locale":
        return f"{value:,.0f}"
    factor, prefix = _prefix(abs(value), unit)
    name = f"{prefix}{_NAMES.get(unit, unit)}" if prefix not in _UNITLESS else prefix
    return f"{_digits(value / factor)} {name}".rstrip()


def ticks(high: float, count: int, unit: str = "") -> list[float]:
    """About `count` values that are round in the unit, from 0 up to the first that is not below `high`."""
    if not math.isfinite(high) or high <= 0:
        return [0.0, 1.0]
    rough = high / count
    if unit == "s" and 1 < rough <= _TIME_STEPS_S[-1]:
        step = float(next(step for step in _TIME_STEPS_S if step >= rough))
    else:
        magnitude = 10.0 ** math.floor(math.log10(rough))
        step = next(step for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * magnitude >= rough * 0.999) * magnitude
    return [step * i for i in range(math.ceil(high / step - 1e-9) + 1)]


def times(start_s: float, end_s: float, count: int) -> list[tuple[float, str]]:
    """At most `count` round times between two, with what a clock shows then."""
    step = next((step for step in _TIME_STEPS_S if (end_s - start_s) / step <= count), _TIME_STEPS_S[-1])
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%m-%d"
    first = math.ceil(start_s / step) * step
    return [(float(at), f"{datetime.fromtimestamp(at, UTC):{form}}") for at in range(first, int(end_s) + 1, step)]


_UNITLESS: Final = frozenset(name for _, name in _LONG)


def _prefix(size: float, unit: str) -> tuple[float, str]:
    steps = (*_LONG, *_SMALL) if unit == "s" else (*_LARGE, (0.0, ""))
    for factor, prefix in steps:
        if size >= factor:
            return factor or 1.0, prefix
    return 1.0, ""


def _digits(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 0.001:
        return f"{value:.3g}"
    return f"{value:.6f}".rstrip("0") if abs(value) >= 1e-6 else f"{value:.9f}".rstrip("0").rstrip(".")
