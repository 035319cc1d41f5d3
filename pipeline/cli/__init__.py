"""The `flowatlas` command: the composition root, the only place that knows collector, pipeline and dashboards at once.

Each sub-command is one module with `add(subparsers)` and a function that runs it; what a sub-command needs is imported
when it runs, so that `flowatlas collect` stays as lean as the collector itself.
"""
