"""The kernel's netlink protocol, as far as this agent speaks it: sockets, message walking, attributes in columns.

It knows nothing of connections or links; `collector.sources` does. The one invariant: bytes that lie are counted by
reason and skipped, they never raise and never shift what comes after them out of place.
"""

from .messages import Messages
from .shapes import Field, MalformedError, attributes, columns
from .sockets import NETLINK_NETFILTER, NETLINK_ROUTE, dump, in_namespace, open_socket, receive_pending

__all__ = [
    "NETLINK_NETFILTER",
    "NETLINK_ROUTE",
    "Field",
    "MalformedError",
    "Messages",
    "attributes",
    "columns",
    "dump",
    "in_namespace",
    "open_socket",
    "receive_pending",
]
