"""Hostile layers change no file outside the root."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from engine import store, trees
from engine.errors import Refused
from engine.store import measured
from engine.trees import Unpacker


def entry(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o755
    member.size = len(content) if kind == tarfile.REGTYPE else 0
    return member, content


def lay_out(root: Path, *entries: tuple[tarfile.TarInfo, bytes], **more: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for member, content in entries:
            archive.addfile(member, io.BytesIO(content))
    packed.seek(0)
    with tarfile.open(fileobj=packed, mode="r|") as archive:
        Unpacker(root, **more).unpack(archive)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").write_text("kept")
    place = tmp_path / "root"
    place.mkdir()
    return place


def outside(root: Path) -> dict[str, str]:
    return {one.name: one.read_text() for one in (root.parent / "outside").iterdir()}


def test_a_link_out_of_the_root_leads_nowhere_outside(root: Path) -> None:
    away = str(root.parent / "outside")
    lay_out(root, entry("l", kind=tarfile.SYMTYPE, link=away), entry("l/kept", b"changed"), entry("l/new", b"new"))
    assert outside(root) == {"kept": "kept"}
    assert (root / away.lstrip("/") / "kept").read_text() == "changed"


def test_a_link_upwards_stays_inside(root: Path) -> None:
    lay_out(root, entry("l", kind=tarfile.SYMTYPE, link="../../../outside"), entry("l/kept", b"changed"))
    assert outside(root) == {"kept": "kept"}


def test_an_absolute_path_is_one_in_the_root(root: Path) -> None:
    lay_out(root, entry(f"{root.parent}/outside/kept", b"changed"))
    assert outside(root) == {"kept": "kept"}


@pytest.mark.parametrize("name", ["../outside/kept", "a/../../outside/kept", "/../outside/kept"])
def test_a_path_that_climbs_is_refused(root: Path, name: str) -> None:
    with pytest.raises(Refused, match="leads out of it"):
        lay_out(root, entry(name, b"changed"))
    assert outside(root) == {"kept": "kept"}


def test_a_hard_link_to_the_outside_is_refused(root: Path) -> None:
    with pytest.raises(Refused, match="hard link"):
        lay_out(root, entry("h", kind=tarfile.LNKTYPE, link=f"{root.parent}/outside/kept"))
    assert list(root.iterdir()) == []


def test_a_file_replaces_a_link_and_does_not_follow_it(root: Path) -> None:
    away = str(root.parent / "outside/kept")
    lay_out(root, entry("f", kind=tarfile.SYMTYPE, link=away), entry("f", b"changed"))
    assert outside(root) == {"kept": "kept"}
    assert (root / "f").read_bytes() == b"changed"


def test_a_device_is_left_out(root: Path) -> None:
    lay_out(root, entry("null", kind=tarfile.CHRTYPE), entry("disk", kind=tarfile.BLKTYPE))
    assert list(root.iterdir()) == []


def test_a_whiteout_through_a_link_removes_nothing_outside(root: Path) -> None:
    away = str(root.parent / "outside")
    lay_out(root, entry("l", kind=tarfile.SYMTYPE, link=away), entry("l/.wh.kept", b""), entry("l/.wh..wh..opq", b""))
    assert outside(root) == {"kept": "kept"}


def test_whiteouts_remove_what_lies_below_and_an_opaque_folder_keeps_its_own(root: Path) -> None:
    lay_out(root, entry("d/old"), entry("d/older"), entry("gone"))
    lay_out(root, entry("d/new"), entry("d/.wh..wh..opq", b""), entry(".wh.gone", b""))
    assert sorted(one.name for one in root.rglob("*")) == ["d", "new"]


def test_a_whiteout_of_the_folder_itself_does_nothing(root: Path) -> None:
    lay_out(root, entry("kept"), entry(".wh...", b""), entry(".wh..", b""))
    assert [one.name for one in root.iterdir()] == ["kept"]


def test_too_much_is_refused(root: Path) -> None:
    with pytest.raises(Refused, match="more than this engine takes"):
        lay_out(root, entry("a", b"12345"), bytes_left=4)
    with pytest.raises(Refused, match="more than this engine takes"):
        lay_out(root, entry("b"), entry("c"), entries_left=1)


def test_links_without_an_end_are_refused(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(Refused, match="too many levels"):
        trees.resolve(root, "a/x", last=True)


def test_a_difference_holds_as_many_bytes_as_its_archive_shows(root: Path) -> None:
    (root / "old").write_bytes(b"old")
    before = trees.look(root)
    (root / "old").unlink()
    (root / "f").write_bytes(b"12345")
    os.link(root / "f", root / "again")
    (root / "l").symlink_to("somewhere")
    (root / "d").mkdir()
    archive = root.parent / "layer"
    held = trees.difference(root, before, trees.look(root), {}, new_owner=(0, 0), to=archive)
    assert held == measured(archive) == len("12345") + len("somewhere")


def test_cached_steps_that_are_used_again_outlive_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = store.Store(tmp_path)
    monkeypatch.setattr(store, "CACHE_BYTES", 20)
    for name in ("a", "b"):
        found.remember(name, {"layer": {"digest": f"sha256:{name}", "size": 10}})
    assert found.recall("a") is not None
    found.remember("c", {"created": "now"})
    found.remember("d", {"layer": {"digest": "sha256:d", "size": 10}})
    assert list(found.cache) == ["a", "c", "d"]
