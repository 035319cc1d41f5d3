"""The `flowatlas` command: the composition root, the only place that knows collector, pipeline and dashboards at once.

Each sub-command is one module with `add(subparsers)` and a function that runs it; what a sub-command needs is imported
when it runs, so that `flowatlas collect` stays as lean as the collector itself.
"""

from __future__ import annotations

import argparse
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a sub-command adds its parser to; argparse has no public name for it."""
