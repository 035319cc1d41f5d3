"""How a benchmark says a figure: one JSON line, `{"bench", "value", "unit", "against"}`."""

from __future__ import annotations

import json


def show(bench: str, value: float, unit: str, against: object) -> None:
    """Print one figure to four significant digits; `against` says what to compare it with."""
    rounded = float(f"{value:.4g}")
    print(json.dumps({"bench": bench, "value": rounded, "unit": unit, "against": against}), flush=True)
