"""Where the lab's outside is said to be: a MaxMind database of the documentation ranges (RFC 5737), made up.

`NEW` is where nothing of the ordinary traffic goes.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from . import mmdb

NEW: Final = "IS"
NETWORKS: Final = {
    "203.0.113.0/24": {**mmdb.country("DE"), **mmdb.system(64500, "Partner Hosting (made up)")},
    "198.51.100.0/24": {**mmdb.country("NL"), **mmdb.system(64501, "Home Broadband (made up)")},
    "192.0.2.0/24": {**mmdb.country(NEW), **mmdb.system(64502, "Cold Storage (made up)")},
}
"""AS numbers are those for documentation (RFC 5398)."""


def options(folder: Path) -> tuple[str, ...]:
    """Write the database into `folder`; what `flowatlas pipeline` is given of it: nothing without the extra `geo`."""
    if find_spec("maxminddb") is None:
        return ()
    return ("--geo", str(mmdb.write(folder / "places.mmdb", NETWORKS, ip_version=4)))
