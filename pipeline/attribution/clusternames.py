"""What the cluster's own DNS names mean: Services, their ports, and pods, as objects of a snapshot.

Names are as DNS answers have them: lower case, without the final dot, complete. A name that means no object that is
known means nothing. The invariant: a name has one meaning or none, since the specification gives each form its place.

Source: Kubernetes DNS-Based Service Discovery, schema version 1.1.0 (github.com/kubernetes/dns, docs/specification.md).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import polars as pl

from ..inventory.addresses import halves_of
from ..inventory.models import Pod, Service
from ..inventory.snapshot import Snapshot
from ..inventory.spans import END

DOMAIN: Final = "cluster.local"
MEANING: Final = pl.Schema({"endpoint_id": pl.UInt32(), "service_id": pl.UInt32()})

_LABEL: Final = "([^.]+)"


def meanings(names: pl.Series, snapshot: Snapshot, domain: str = DOMAIN) -> pl.DataFrame:
    """What each name means, by MEANING and in order; both are null where it means nothing.

    - `service.namespace.svc.domain`: the Service, of whatever type, and its port where it has one alone;
    - `_port._protocol.service.namespace.svc.domain` (SRV): that port;
    - `host.service.namespace.svc.domain`: the pod of that host name, or of that address with dashes, behind a headless
      Service;
    - `address.namespace.pod.domain`, the address with dashes: the pod that has it.
    """
    zone = "." + domain.replace(".", r"\.") + "$"
    parsed = names.alias("name").to_frame().with_row_index("row")
    is_srv = pl.col("name").str.starts_with("_")
    patterns = {
        "service": ~is_srv & pl.col("name").str.contains(rf"^{_LABEL}\.{_LABEL}\.svc\{zone}"),
        "port": is_srv & pl.col("name").str.contains(rf"^_{_LABEL}\._{_LABEL}\.{_LABEL}\.{_LABEL}\.svc\{zone}"),
        "host": ~is_srv & pl.col("name").str.contains(rf"^{_LABEL}\.{_LABEL}\.{_LABEL}\.svc\{zone}"),
        "pod": pl.col("name").str.contains(rf"^{_LABEL}\.{_LABEL}\.pod\{zone}"),
    }
    labels = pl.col("name").str.split(".").list
    at = {form: parsed.filter(matches).select("row", labels=labels.head(4)) for form, matches in patterns.items()}
    found = pl.concat(
        [
            _services(at["service"], snapshot),
            _ports(at["port"], snapshot),
            _hosts(at["host"], snapshot),
            _pods(at["pod"].select("row", address=_label(0), namespace=_label(1)), snapshot),
        ]
    )
    joined = parsed.select("row").join(found, on="row", how="left", maintain_order="left")
    return joined.select("endpoint_id", "service_id").match_to_schema(MEANING)


def _label(place: int) -> pl.Expr:
    return pl.col("labels").list.get(place, null_on_oob=True)


def _named(kind: str, snapshot: Snapshot) -> pl.DataFrame:
    """namespace, name and endpoint_id of objects; the newest of each name."""
    rows = snapshot.endpoints.filter(pl.col("kind") == kind)
    return rows.group_by("namespace", "name").agg(endpoint_id=pl.col("id").max())


def _services(names: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    newest = pl.struct("service_port", "protocol").n_unique() == 1
    only = snapshot.services.group_by("service_namespace", "service").agg(
        service_id=pl.when(newest).then(pl.col("service_id").max())
    )
    asked = names.select("row", name=_label(0), namespace=_label(1))
    services = asked.join(_named("Service", snapshot), on=("namespace", "name"))
    return services.join(
        only, left_on=("namespace", "name"), right_on=("service_namespace", "service"), how="left"
    ).select("row", "endpoint_id", "service_id")


def _ports(names: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    numbers = {"_tcp": 6, "_udp": 17, "_sctp": 132}
    asked = names.select(
        "row",
        _label(0).str.strip_prefix("_").alias("port_name"),
        _label(1).replace_strict(numbers, default=None, return_dtype=pl.UInt8).alias("protocol"),
        service=_label(2),
        service_namespace=_label(3),
    )
    key = ("service_namespace", "service", "port_name", "protocol")
    newest = snapshot.services.sort("service_id").unique(key, keep="last")
    return asked.join(newest, on=key).select("row", "endpoint_id", "service_id")


@lru_cache(maxsize=2)
def headless(snapshot: Snapshot) -> pl.Series:
    """The endpoint ids of the Services without an address, also of those without ports."""
    services = snapshot.endpoints.filter(pl.col("kind") == "Service")["id"]
    subjects = [snapshot.subjects[number] for number in services]
    is_headless = [isinstance(subject, Service) and subject.is_headless for subject in subjects]
    return services.filter(pl.Series(is_headless, dtype=pl.Boolean))


def _hosts(names: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    asked = names.select("row", name=_label(0), service=_label(1), namespace=_label(2))
    services = _named("Service", snapshot).filter(pl.col("endpoint_id").is_in(headless(snapshot).implode()))
    asked = asked.join(services, left_on=("namespace", "service"), right_on=("namespace", "name"), how="semi")
    if asked.is_empty():
        return asked.select("row", endpoint_id=pl.lit(None, pl.UInt32), service_id=pl.lit(None, pl.UInt32))
    by_name = pl.concat(
        [
            asked.join(_named("Pod", snapshot), on=("namespace", "name")).select("row", "endpoint_id"),
            asked.join(_hostnames(snapshot), on=("namespace", "service", "name")).select("row", "endpoint_id"),
        ]
    ).unique("row", keep="first", maintain_order=True)
    rest = asked.join(by_name, on="row", how="anti").select("row", "namespace", address="name")
    return pl.concat([by_name.select("row", "endpoint_id", service_id=pl.lit(None, pl.UInt32)), _pods(rest, snapshot)])


@lru_cache(maxsize=2)
def _hostnames(snapshot: Snapshot) -> pl.DataFrame:
    """namespace, service, name and endpoint_id of pods with a host name of their own; the newest of each."""
    pods = snapshot.endpoints.filter(pl.col("kind") == "Pod").select("namespace", "id").rows()
    specs = [
        (namespace, number, subject.spec)
        for namespace, number in pods
        if isinstance(subject := snapshot.subjects[number], Pod)
    ]
    rows = [(namespace, spec.subdomain, spec.hostname, number) for namespace, number, spec in specs if spec.hostname]
    schema = {"namespace": pl.String, "service": pl.String, "name": pl.String, "endpoint_id": pl.UInt32}
    return pl.DataFrame(rows, schema, orient="row").unique(("namespace", "service", "name"), keep="last")


def _pods(names: pl.DataFrame, snapshot: Snapshot) -> pl.DataFrame:
    """Of rows with an `address` with dashes and a `namespace`: the pod there that has the address now."""
    text = pl.col("address")
    is_v4 = text.str.contains(r"^\d+-\d+-\d+-\d+$")
    spelt = names.select(pl.when(is_v4).then(text.str.replace_all("-", ".")).otherwise(text.str.replace_all("-", ":")))
    held = snapshot.addresses.filter(pl.col("until") == END).select("addr_hi", "addr_lo", "endpoint_id")
    pods = snapshot.endpoints.filter(pl.col("kind") == "Pod").select("namespace", endpoint_id="id")
    return (
        names.hstack(halves_of(spelt.to_series()))
        .join(held, left_on=("hi", "lo"), right_on=("addr_hi", "addr_lo"))
        .join(pods, on=("namespace", "endpoint_id"))
        .select("row", "endpoint_id", service_id=pl.lit(None, pl.UInt32))
    )
