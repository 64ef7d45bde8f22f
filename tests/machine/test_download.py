"""machine.download: what comes is what was meant, or nothing is kept."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import download
from machine.errors import ArchiveRefused
from tests.machine.archive_server import Behaviour, serving

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    # A proxy of the machine has no way to this test's loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def _fetch(url: str, target: Path, *, sha256: str = SHA256, room: int = 0) -> list[str]:
    said: list[str] = []
    download.fetch(url, sha256, target, said.append, room=room)
    return said


def test_download_prints_the_size_and_writes_the_file(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        said = _fetch(url, tmp_path / "new" / "it")
    assert (tmp_path / "new" / "it").read_bytes() == CONTENT
    assert said == [f"Downloading {url}: 1 MB."]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["it"]


def test_complete_file_is_not_downloaded_again(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        _fetch(url, tmp_path / "it")
        assert _fetch(url, tmp_path / "it") == []
    assert len(behaviour.asked) == 1


def test_cut_connection_is_resumed(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, cuts=[4 << 16, 4 << 16])
    with serving(behaviour) as url:
        _fetch(url, tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == CONTENT
    assert behaviour.asked == ["", "bytes=262144-", "bytes=524288-"]


def test_next_set_up_resumes_an_interrupted_download(tmp_path: Path) -> None:
    kept = r"197 kB of it are kept; the next set-up goes on there\."
    cut = Behaviour(CONTENT, cuts=[3 << 16, 0, 0, 0, 0, 0])
    with serving(cut) as url, pytest.raises(ArchiveRefused, match=kept):
        _fetch(url, tmp_path / "it")
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        said = _fetch(url, tmp_path / "it")
    assert behaviour.asked == ["bytes=196608-"]
    assert said == [f"Downloading {url}: 1 MB, of which 197 kB are here already."]
    assert (tmp_path / "it").read_bytes() == CONTENT


def test_download_restarts_if_the_server_has_no_ranges(tmp_path: Path) -> None:
    behaviour = Behaviour(CONTENT, cuts=[100_000], ranges=False)
    with serving(behaviour) as url:
        _fetch(url, tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == CONTENT


def test_partial_file_longer_than_the_file_is_discarded(tmp_path: Path) -> None:
    (tmp_path / "it.part").write_bytes(CONTENT * 2)
    with serving(Behaviour(CONTENT)) as url:
        _fetch(url, tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == CONTENT


@pytest.mark.parametrize("resumed", [False, True], ids=["whole", "resumed"])
def test_file_with_another_digest_is_deleted(resumed: bool, tmp_path: Path) -> None:
    if resumed:
        (tmp_path / "it.part").write_bytes(b"of another file")
    other = "0" * 64 if not resumed else SHA256
    with serving(Behaviour(CONTENT)) as url, pytest.raises(ArchiveRefused, match="not the archive that was meant"):
        _fetch(url, tmp_path / "it", sha256=other)
    assert list(tmp_path.iterdir()) == []


def test_refusal_of_the_server_is_reported(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT, status=403)) as url, pytest.raises(ArchiveRefused, match="answers 403 Forbidden"):
        _fetch(url, tmp_path / "it")


def test_unreachable_server_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url:
        pass
    with pytest.raises(ArchiveRefused) as refused:
        _fetch(url, tmp_path / "it")
    assert str(refused.value) == f"{url} can't be downloaded: the server can't be reached."


def test_download_without_disk_space_writes_nothing(tmp_path: Path) -> None:
    with serving(Behaviour(CONTENT)) as url, pytest.raises(ArchiveRefused, match=r"of free disk, and .* are needed"):
        _fetch(url, tmp_path / "it", room=10**18)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", folder], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_disk_that_fills_up_is_reported_in_one_sentence(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_require_room", lambda part, needed: None)
    with serving(Behaviour(CONTENT)) as url, pytest.raises(ArchiveRefused, match="The disk is full"):
        _fetch(url, small_disk / "it")
    assert list(small_disk.iterdir()) == []
