"""One thing done to a node or a pod, of which misdeeds are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deed:
    """A command in the network namespace of a node (`where` is its name) or a pod (NAMESPACE/POD)."""

    where: str
    command: tuple[str, ...]
    text: str = ""


def rules(where: str, name: str, chain: str) -> Deed:
    """A chain of nftables, in a table named after the misdeed."""
    return Deed(where, ("nft", "-f", "-"), f"table ip misdeed-{name} {{\n chain rules {{\n {chain}\n }}\n}}\n")
