"""machine.unpacking: an archive of a program becomes its files, and a hostile one becomes nothing outside."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machine import unpacking
from machine.errors import ArchiveRefused


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"", mode: int = 0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(content), mode
    info.uid = info.gid = 12345
    return info, content


def _archive(path: Path, *members) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return path


def test_files_folders_and_links_come_out(tmp_path: Path) -> None:
    archive = _archive(
        tmp_path / "a.tar.gz",
        _member("sdk", tarfile.DIRTYPE, mode=0o777),
        _member("sdk/bin/run", content=b"#!/bin/sh\n", mode=0o6777),
        _member("sdk/lib/deep/tool", tarfile.SYMTYPE, "../../bin/run"),
        _member("sdk/again", tarfile.LNKTYPE, "sdk/bin/run"),
    )
    unpacking.unpack(archive, tmp_path / "out")
    program = tmp_path / "out/sdk/bin/run"
    assert program.stat().st_mode & 0o7777 == 0o755
    assert program.stat().st_uid == os.getuid()
    assert (tmp_path / "out/sdk/lib/deep/tool").resolve() == program
    assert (tmp_path / "out/sdk/again").samefile(program)
    assert not (tmp_path / "out/sdk").stat().st_mode & 0o022


HOSTILE = {
    "a name that climbs out": [_member("sdk/../../evil", content=b"x")],
    "an absolute name": [_member("/tmp/evil", content=b"x")],
    "a link that is absolute": [_member("sdk/a", tarfile.SYMTYPE, "/etc/passwd")],
    "a link that climbs out": [_member("sdk/a", tarfile.SYMTYPE, "../../evil")],
    "a link that climbs out after going in": [_member("sdk/a", tarfile.SYMTYPE, "in/../../../evil")],
    "a file through a link": [_member("sdk/a", tarfile.SYMTYPE, "."), _member("sdk/a/b", content=b"x")],
    "a link through a link": [_member("sdk/a", tarfile.SYMTYPE, "."), _member("sdk/a/b", tarfile.SYMTYPE, "..")],
    "a file over a link": [_member("sdk/a", tarfile.SYMTYPE, "b"), _member("sdk/a", content=b"x")],
    "a hard link to a file outside": [_member("sdk/a", tarfile.LNKTYPE, "../evil")],
    "a hard link to an absolute name": [_member("sdk/a", tarfile.LNKTYPE, "/etc/passwd")],
    "a hard link to a link": [_member("sdk/a", tarfile.SYMTYPE, "b"), _member("sdk/c", tarfile.LNKTYPE, "sdk/a")],
    "a hard link to itself": [_member("sdk/a", content=b"x"), _member("sdk/a", tarfile.LNKTYPE, "sdk/a")],
    "a character device": [_member("sdk/null", tarfile.CHRTYPE)],
    "a block device": [_member("sdk/disk", tarfile.BLKTYPE)],
    "a pipe": [_member("sdk/pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_archive_is_refused_and_writes_nothing_outside(case: str, tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    archive = _archive(tmp_path / "a.tar.gz", *HOSTILE[case])
    with pytest.raises(ArchiveRefused):
        unpacking.unpack(archive, tmp_path / "room" / "out")
    assert [path.name for path in (tmp_path / "room").iterdir()] == ["out"]
    assert not Path("/tmp/evil").exists()


def test_archive_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MOST_BYTES", 10)
    archive = _archive(tmp_path / "a.tar.gz", _member("a", content=b"123456"), _member("b", content=b"123456"))
    with pytest.raises(ArchiveRefused, match="far larger"):
        unpacking.unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99], ids=["empty", "10 bytes", "half", "all but the end"])
def test_what_is_cut_off_or_no_archive_is_refused(keep: float, tmp_path: Path) -> None:
    archive = _archive(tmp_path / "a.tar.gz", _member("a", content=os.urandom(100_000)))
    content = archive.read_bytes()
    archive.write_bytes(content[: keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(ArchiveRefused):
        unpacking.unpack(archive, tmp_path / "out")


_PARTS = st.sampled_from(["a", "b", "..", ".", "", "sdk"])
_NAMES = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
_KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_NAMES, _KINDS, _NAMES), max_size=6))
def test_no_mixture_of_names_and_links_leaves_the_folder(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, str]]
) -> None:
    room = tmp_path_factory.mktemp("room")
    (room / "a").write_text("kept")
    archive = _archive(room / "x.tar.gz", *(_member(name, kind, link) for name, kind, link in members))
    before = archive.read_bytes()
    (room / "deep").mkdir()
    with contextlib.suppress(ArchiveRefused):
        unpacking.unpack(archive, room / "deep" / "out")
    assert sorted(path.name for path in room.iterdir()) == ["a", "deep", "x.tar.gz"]
    assert [path.name for path in (room / "deep").iterdir()] == ["out"]
    assert (room / "a").read_text() == "kept"
    assert archive.read_bytes() == before
    for path in (room / "deep" / "out").rglob("*"):
        try:
            path.stat()
        except OSError as error:
            if error.errno == errno.ELOOP:
                continue  # a link to itself leads nowhere
        assert Path(os.path.realpath(path)).is_relative_to((room / "deep" / "out").resolve())


def test_full_disk_is_reported_in_one_sentence(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", disk], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    archive = _archive(tmp_path / "a.tar.gz", _member("a", content=b"x" * 500_000))
    try:
        with pytest.raises(ArchiveRefused, match="The disk is full"):
            unpacking.unpack(archive, disk / "out")
    finally:
        subprocess.run(["umount", disk], check=True)
