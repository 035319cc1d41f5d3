"""The address lists that clouds publish, as named ranges: AWS ip-ranges.json, Google cloud.json and goog.json, Azure
ServiceTags.

Files that the user fetched; nothing here speaks to a network. A cloud lists a prefix under a service and again under
the whole cloud: the invariant is that the more telling of the two comes later, since the later of equal prefixes names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..errors import ConfigError
from .outside import NamedRange, Place


class _AwsPrefix(msgspec.Struct, frozen=True):
    region: str
    service: str
    ip_prefix: str = ""
    ipv6_prefix: str = ""


class _Aws(msgspec.Struct, frozen=True):
    """https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html"""

    prefixes: list[_AwsPrefix]
    ipv6_prefixes: list[_AwsPrefix]


class _GooglePrefix(msgspec.Struct, frozen=True, rename="camel"):
    ipv4_prefix: str = ""
    ipv6_prefix: str = ""
    scope: str = ""  # the region, in cloud.json alone


class _Google(msgspec.Struct, frozen=True):
    """https://support.google.com/a/answer/10026322"""

    prefixes: list[_GooglePrefix]


class _AzureProperties(msgspec.Struct, frozen=True, rename="camel"):
    address_prefixes: list[str]
    region: str = ""
    system_service: str = ""


class _AzureTag(msgspec.Struct, frozen=True):
    name: str
    properties: _AzureProperties


class _Azure(msgspec.Struct, frozen=True):
    """https://learn.microsoft.com/azure/virtual-network/service-tags-overview"""

    values: list[_AzureTag]


_WHOLE_CLOUD = {"AMAZON", "AzureCloud"}
_Entry = tuple[str, str, str, str]
"""Cloud, service ("" for the cloud as a whole), region, prefix."""


def load(path: Path, *, is_own: bool = False) -> list[NamedRange]:
    """The ranges of a cloud's list, named `aws-ec2`, `google`, `azure-storage`, with their regions.

    `is_own`: the cluster runs in this cloud, so that its traffic is told apart by region and not as the internet's.
    Raises ConfigError where the file is none of the lists that are known.
    """
    try:
        text = path.read_bytes()
        entries = sorted(_entries(text, path), key=lambda entry: (bool(entry[1]), bool(entry[2]), entry))
        return [
            NamedRange(ipaddress.ip_network(prefix), _place(cloud, service, region, is_own=is_own))
            for cloud, service, region, prefix in entries
        ]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise ConfigError(f"{path}: {error}") from None


def _entries(text: bytes, path: Path) -> Iterator[_Entry]:
    keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys()
    if "ipv6_prefixes" in keys:
        aws = msgspec.json.decode(text, type=_Aws)
        for entry in (*aws.prefixes, *aws.ipv6_prefixes):
            region = "" if entry.region == "GLOBAL" else entry.region
            yield "aws", _service(entry.service), region, entry.ip_prefix or entry.ipv6_prefix
    elif "prefixes" in keys:
        for found in msgspec.json.decode(text, type=_Google).prefixes:
            region = "" if found.scope == "global" else found.scope
            yield "google", "", region, found.ipv4_prefix or found.ipv6_prefix
    elif "values" in keys:
        for tag in msgspec.json.decode(text, type=_Azure).values:
            told = tag.properties
            service = _service(told.system_service.removeprefix("Azure"))
            for prefix in told.address_prefixes:
                yield "azure", service, told.region, prefix
    else:
        raise ConfigError(f"{path}: no list of AWS, Google or Azure, by its keys {', '.join(keys)}")


def _service(name: str) -> str:
    return "" if name in _WHOLE_CLOUD else name.lower().replace("_", "-")


def _place(cloud: str, service: str, region: str, *, is_own: bool) -> Place:
    return Place(f"{cloud}-{service}" if service else cloud, "Cloud", region=region, is_own=is_own)
