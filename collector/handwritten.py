"""YAML that a person has written: what is there twice is refused, for YAML's readers take the last and say nothing.

It is for settings, prices, ranges and passwords. Cluster objects are read as Kubernetes reads them, by others.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class RepeatedKeyError(yaml.YAMLError):
    """A mapping has a key twice. The message names the key and both lines."""


class _Loader(yaml.CSafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise RepeatedKeyError(f"{key!r} is there twice, in lines {lines[key]} and {line}")
            lines[key] = line
        return super().construct_mapping(node, deep)


def decode_yaml(content: bytes | str) -> Any:
    """The one document that there is. Raises yaml.YAMLError, and RepeatedKeyError of these."""
    return yaml.load(content, Loader=_Loader)  # noqa: S506 - a safe loader that takes less
