"""One kernel, several nodes: whose a network namespace is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from collector.residence import RESCAN_S, Residence, namespaces_in


def begin(proc: Path, pid: str, name: str) -> int:
    """A process in a namespace, as its folder in a /proc shows it; returns the namespace's inode."""
    namespace = proc / name
    namespace.touch()
    (proc / pid / "ns").mkdir(parents=True)
    (proc / pid / "ns" / "net").symlink_to(namespace)
    return namespace.stat().st_ino


def test_a_kernel_of_its_own_needs_no_telling_apart() -> None:
    assert Residence(None).is_own(np.array([1, 2, 0]), 0.0).tolist() == [True, True, True]


def test_namespaces_are_those_of_visible_processes(tmp_path: Path) -> None:
    one, two = begin(tmp_path, "1", "host"), begin(tmp_path, "20", "pod")
    (tmp_path / "30").mkdir()  # it has ended
    assert namespaces_in(tmp_path) == {one, two}


def test_a_new_namespace_is_known_at_once_and_a_foreign_one_is_looked_for_again(tmp_path: Path) -> None:
    one = begin(tmp_path, "1", "host")
    foreign = one + 1_000_000
    residence = Residence(tmp_path)
    assert residence.is_own(np.array([one, foreign, one]), 0.0).tolist() == [True, False, True]
    two = begin(tmp_path, "20", "pod")
    assert residence.is_own(np.array([foreign, two]), 0.1).tolist() == [False, True]

    (tmp_path / "20" / "ns" / "net").unlink()
    (tmp_path / "20" / "ns" / "net").symlink_to(later := tmp_path / "later")
    later.touch()
    inode = later.stat().st_ino
    residence._foreign.add(inode)  # seen before a process of it was
    assert residence.is_own(np.array([inode, two]), 0.2).tolist() == [False, True]
    assert residence.is_own(np.array([inode, two]), 0.2 + RESCAN_S).tolist() == [True, True]
