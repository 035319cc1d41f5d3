"""Where a cell leads: the address of a sibling dashboard that takes the time range, the data source and names along.

The `${...}` in an address are Grafana's: it replaces them when a link is followed. A name comes from the column of that
heading in the same row, so a link still names the right thing after a column was moved.
"""

from __future__ import annotations

from typing import Final

CELL: Final = "${__value.raw}"
"""What stands in the cell itself."""


def column(heading: str) -> str:
    """What stands in the same row under a heading."""
    return f'${{__data.fields["{heading}"]}}'


def page(uid: str, **names: str) -> str:
    """The dashboard's address, with its drop-downs set to `names`."""
    chosen = "".join(f"&var-{variable}={name}" for variable, name in names.items())
    return f"/d/{uid}?${{__url_time_range}}&var-datasource=${{datasource}}{chosen}"


def namespace(name: str = CELL) -> str:
    """Of the Namespace dashboard."""
    return page("flowatlas-namespace", namespace=name)


def workload(namespace_heading: str, name: str = CELL) -> str:
    """Of the Workload dashboard; the namespace stands under another heading."""
    return page("flowatlas-workload", namespace=column(namespace_heading), workload=name)


def service(namespace_heading: str, name: str = CELL) -> str:
    """Of the Services dashboard."""
    return page("flowatlas-services", namespace=column(namespace_heading), service=name)


def node(name: str = CELL) -> str:
    """Of the dashboard of nodes."""
    return page("flowatlas-nodes", node=name)
