"""Manifest files that are looked at again: what is taken up and when, and what is never taken away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.inventory import manifests
from pipeline.inventory.manifest_files import ManifestFiles
from pipeline.inventory.models import Pod

BROKEN = "apiVersion: v1\nkind: Service\nmetadata: {name: broken}\nspec: {ports: [{port: many}]}\n"


def pod(name: str, **labels: str) -> str:
    return f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\n"


def names(files: ManifestFiles) -> list[str]:
    return sorted(item.metadata.name for item in files.objects.values())


def labels_of(files: ManifestFiles, name: str) -> dict[str, str] | None:
    (found,) = (item for item in files.objects.values() if isinstance(item, Pod) and item.metadata.name == name)
    return found.metadata.labels


def settle(files: ManifestFiles) -> bool:
    """Two looks, after which whatever stands still is taken up; whether objects are others."""
    return files.look() | files.look()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(pod(name))
    return tmp_path


@pytest.fixture
def files(folder: Path) -> ManifestFiles:
    """Looked at once."""
    files = ManifestFiles(folder)
    assert files.look()
    return files


def test_the_first_look_reads_everything_and_the_next_nothing(
    files: ManifestFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(files) == ["a", "b"]
    monkeypatch.setattr("pipeline.inventory.manifest_files.read", lambda file: pytest.fail(f"{file} was read again"))
    assert not settle(files)


def test_a_changed_a_new_and_a_removed_file_are_taken_up_at_the_second_look(files: ManifestFiles, folder: Path) -> None:
    (folder / "a.yaml").write_text(pod("a") + pod("another"))
    (folder / "c.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}}')
    (folder / "b.yaml").unlink()
    assert not files.look()
    assert names(files) == ["a", "b"]
    assert files.look()
    assert names(files) == ["a", "another", "c"]
    assert not settle(files)


def test_a_file_that_is_still_being_written_is_waited_for(files: ManifestFiles, folder: Path) -> None:
    for count in range(1, 4):
        (folder / "a.yaml").write_text("".join(pod(f"new-{number}") for number in range(count)))
        assert not files.look()
    assert names(files) == ["a", "b"]
    assert files.look()
    assert names(files) == ["b", "new-0", "new-1", "new-2"]


def test_a_file_that_is_replaced_by_one_of_the_same_age_and_length_is_seen(files: ManifestFiles, folder: Path) -> None:
    status = (folder / "a.yaml").stat()
    (folder / "new").write_text(pod("z"))
    os.utime(folder / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / "new").rename(folder / "a.yaml")
    settle(files)
    assert names(files) == ["b", "z"]


def test_a_config_map_that_is_mounted_anew_is_seen(tmp_path: Path) -> None:
    """The kubelet writes a hidden folder beside the old one, and turns the link that all files lead through."""
    for version, name in (("..1", "old"), ("..2", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "state.yaml").write_text(pod(name))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "state.yaml").symlink_to("..data/state.yaml")
    files = ManifestFiles(tmp_path)
    files.look()
    assert names(files) == ["old"]
    (tmp_path / "..turned").symlink_to("..2")
    (tmp_path / "..turned").rename(tmp_path / "..data")
    settle(files)
    assert names(files) == ["new"]


def test_an_object_that_moves_between_files_stays(files: ManifestFiles, folder: Path) -> None:
    (folder / "b.yaml").rename(folder / "c.yaml")
    seen = []
    for _ in range(3):
        files.look()
        seen.append(names(files))
    assert seen == [["a", "b"]] * 3


def test_what_a_broken_file_said_is_kept_until_it_is_whole_again(files: ManifestFiles, folder: Path) -> None:
    (folder / "a.yaml").write_text(pod("a2") + "---\nkind: [\n")
    settle(files)
    assert names(files) == ["a", "a2", "b"]
    assert [(refusal.file, refusal.document) for refusal in files.refusals] == [(str(folder / "a.yaml"), 2)]
    (folder / "a.yaml").write_text(pod("a2"))
    settle(files)
    assert (names(files), files.refusals) == (["a2", "b"], [])


def test_an_object_that_is_refused_is_kept_as_it_was_and_counted(files: ManifestFiles, folder: Path) -> None:
    good = BROKEN.replace("many", "80")
    (folder / "a.yaml").write_text(good)
    settle(files)
    (folder / "a.yaml").write_text(BROKEN)
    settle(files)
    assert names(files) == ["b", "broken"]
    assert [(refusal.kind, refusal.name) for refusal in files.refusals] == [("Service", "broken")]


def test_a_file_that_is_empty_for_a_while_takes_nothing_away(files: ManifestFiles, folder: Path) -> None:
    (folder / "a.yaml").write_text("")
    settle(files)
    assert names(files) == ["a", "b"]
    assert [refusal.problem for refusal in files.refusals] == ["empty, as while it is written; what it held is kept"]
    (folder / "a.yaml").write_text("# nothing, and on purpose\n")
    settle(files)
    assert (names(files), files.refusals) == (["b"], [])


def test_a_file_that_cannot_be_read_is_tried_at_every_look(
    files: ManifestFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.yaml").write_bytes(b"\xff")
    settle(files)
    assert names(files) == ["a", "b"]
    (refusal,) = files.refusals
    assert (refusal.file, refusal.kind) == (str(folder / "a.yaml"), "")
    monkeypatch.setattr("pipeline.inventory.manifest_files.read", lambda _: manifests.read(folder / "b.yaml"))
    files.look()  # the disk answers again, and the file looks as it did
    assert (names(files), files.refusals) == (["b"], [])


def test_a_folder_that_goes_away_takes_nothing_along(files: ManifestFiles, folder: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.yaml").rename(folder / f"{name}.aside")
    settle(files)
    assert names(files) == ["a", "b"]
    assert [refusal.file for refusal in files.refusals] == [str(folder)]
    (folder / "a.aside").rename(folder / "a.yaml")
    settle(files)
    assert (names(files), files.refusals) == (["a"], [])


def test_a_folder_below_that_cannot_be_listed_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "a.yaml").write_text(pod("a"))
    (below / "b.yaml").write_text(pod("b"))
    files = ManifestFiles(tmp_path)
    files.look()
    listing = manifests.Listing([tmp_path / "a.yaml"], {below: "Stale file handle"})
    monkeypatch.setattr("pipeline.inventory.manifest_files.listing", lambda _: listing)
    assert not settle(files)
    assert names(files) == ["a", "b"]
    assert [str(refusal) for refusal in files.refusals] == [f"{below}: Stale file handle"]


def test_a_later_file_replaces_what_an_earlier_one_says_and_gives_it_back(files: ManifestFiles, folder: Path) -> None:
    (folder / "c.yaml").write_text(pod("a", told="by c"))
    settle(files)
    assert labels_of(files, "a") == {"told": "by c"}
    (folder / "c.yaml").unlink()
    settle(files)
    assert labels_of(files, "a") == {}


def test_where_there_is_nothing_at_first_there_is_no_state(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no"):
        ManifestFiles(tmp_path).look()
