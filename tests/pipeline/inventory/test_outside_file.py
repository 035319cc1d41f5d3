"""The file of named ranges, and the lists that clouds publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.inventory import outside_file, prefix_lists
from pipeline.inventory.addresses import parse
from pipeline.inventory.outside import BUILTIN, NamedRange, outside_of

AWS: dict[str, Any] = {
    "syncToken": "1",
    "createDate": "2026-01-01-00-00-00",
    "prefixes": [
        {"ip_prefix": "192.0.2.0/25", "region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1"},
        {"ip_prefix": "192.0.2.0/24", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"},
        {"ip_prefix": "192.0.2.0/25", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"},
        {"ip_prefix": "198.51.100.0/24", "region": "GLOBAL", "service": "CLOUDFRONT", "network_border_group": "GLOBAL"},
    ],
    "ipv6_prefixes": [
        {"ipv6_prefix": "2001:db8::/33", "region": "us-east-1", "service": "S3", "network_border_group": "us-east-1"}
    ],
}
GOOGLE: dict[str, Any] = {
    "syncToken": "1",
    "creationTime": "2026-01-01T00:00:00",
    "prefixes": [
        {"ipv4Prefix": "192.0.2.0/24", "service": "Google Cloud", "scope": "europe-west1"},
        {"ipv6Prefix": "2001:db8:8000::/33", "service": "Google Cloud", "scope": "global"},
    ],
}
AZURE: dict[str, Any] = {
    "changeNumber": 1,
    "cloud": "Public",
    "values": [
        {
            "name": "Storage.WestEurope",
            "id": "Storage.WestEurope",
            "properties": {
                "region": "westeurope",
                "systemService": "AzureStorage",
                "addressPrefixes": ["192.0.2.0/24"],
            },
        },
        {
            "name": "AzureCloud",
            "id": "AzureCloud",
            "properties": {"region": "", "systemService": "", "addressPrefixes": ["192.0.2.0/24", "2001:db8::/32"]},
        },
    ],
}


def name_and_region(ranges: list[NamedRange], address: str) -> tuple[str, str]:
    outside = outside_of(ranges, 2)
    hi, lo = parse(address)
    number = int(outside.id_of(np.array([hi], np.uint64), np.array([lo], np.uint64))[0])
    found = outside.endpoints.filter(id=number).select("name", "region").rows()
    return found[0] if found else ("outside", "")


@pytest.mark.parametrize(
    ("document", "address", "told"),
    [
        (AWS, "192.0.2.1", ("aws-ec2", "eu-west-1")),
        (AWS, "192.0.2.200", ("aws", "eu-west-1")),
        (AWS, "198.51.100.1", ("aws-cloudfront", "")),
        (AWS, "2001:db8::1", ("aws-s3", "us-east-1")),
        (GOOGLE, "192.0.2.1", ("google", "europe-west1")),
        (GOOGLE, "2001:db8:8000::1", ("google", "")),
        (AZURE, "192.0.2.1", ("azure-storage", "westeurope")),
        (AZURE, "2001:db8::1", ("azure", "")),
    ],
)
def test_a_clouds_list_names_by_service_and_region(
    tmp_path: Path, document: dict[str, Any], address: str, told: tuple[str, str]
) -> None:
    """Of a prefix that is listed under a service and under the whole cloud, the service is told."""
    file = tmp_path / "list.json"
    file.write_text(json.dumps(document))
    assert name_and_region(prefix_lists.load(file), address) == told


@pytest.mark.parametrize(
    "text", ['{"some": 1}', "[]", '{"values": [{"name": 1}]}', '{"prefixes": [{"ipv4Prefix": "x"}]}']
)
def test_what_is_no_list_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "list.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"list\.json"):
        prefix_lists.load(file)


def test_a_file_of_ranges_and_lists(tmp_path: Path) -> None:
    (tmp_path / "aws.json").write_text(json.dumps(AWS))
    file = tmp_path / "outside.yaml"
    file.write_text(
        """
ranges:
  - {cidr: 192.0.2.0/25, name: ours-at-aws}
  - {cidr: 10.20.0.0/16, name: data-centre, zone: eu-1a, region: eu-1}
  - {cidr: 203.0.113.0/24, name: partner, kind: Partner}
prefix_lists:
  - {path: aws.json, own_cloud: true}
"""
    )
    ranges = outside_file.load(file)
    assert ranges[: len(BUILTIN)] == list(BUILTIN)
    assert name_and_region(ranges, "192.0.2.1") == ("ours-at-aws", "")
    assert name_and_region(ranges, "192.0.2.129") == ("aws", "eu-west-1")
    assert name_and_region(ranges, "10.20.1.1") == ("data-centre", "eu-1")
    assert name_and_region(ranges, "10.21.1.1") == ("private", "")
    own = {found.place.name: found.place.is_own for found in ranges}
    assert [own[name] for name in ("ours-at-aws", "aws-ec2", "data-centre", "partner")] == [False, True, True, False]
    assert {found.place.kind for found in ranges} == {"External", "Cloud", "Partner"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("ranges: [{cidr: 10.0.0.0/33, name: x}]", "cidr"),
        ("ranges: []\nranges: [{cidr: 10.0.0.0/8, name: x}]", "'ranges' is there twice, in lines 1 and 2"),
        ("ranges: [{cidr: 10.0.0.0/8}]", "name"),
        ("ranges: [{cidr: 10.0.0.0/8, name: ''}]", "10.0.0.0/8"),
        ("ranges: [{cidr: 10.0.0.0/8, name: x, colour: red}]", "colour"),
        ("names: []", "names"),
        ("prefix_lists: [{path: absent.json}]", "absent.json"),
        ("ranges: [", "outside.yaml"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "outside.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=named):
        outside_file.load(file)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        outside_file.load(tmp_path / "none.yaml")
