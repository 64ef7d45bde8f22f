"""machine.gcloud: a machine without gcloud gets one, checked, for the workbook alone; or one sentence says why not."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from machine import download, gcloud, gcloud_archives, gcloud_components
from machine.errors import MachineError
from tests.machine.archive_server import Behaviour, serving

ROOT = Path(__file__).resolve().parents[2]
# Stands in for gcloud: it says its version, adds its component, and writes down what it was told.
PROGRAM = """#!/bin/sh
here=$(dirname "$0")
echo "$* CLOUDSDK_CONFIG=$CLOUDSDK_CONFIG CLOUDSDK_PYTHON=${CLOUDSDK_PYTHON-}" >> "$here/../told"
[ -z "${CLOUDSDK_CORE_PROJECT-}" ] || exit 9
if [ "$1" = components ]; then printf '#!/bin/sh\\n' > "$here/local-extract"; mkdir -p "$here/../lib/surface/beta"; fi
if [ "$1" = components ]; then : > "$here/../lib/surface/beta/__init__.py"; fi
"""


def _sdk(program: str = PROGRAM, *, version: str = "1.2.3", folder: str = "google-cloud-sdk", **more: str) -> bytes:
    """An archive as Google's are made, of a program of a few lines."""
    packed = io.BytesIO()
    files = {"bin/gcloud": program, "bin/docker-credential-gcloud": program, "VERSION": f"{version}\n"} | more
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content.encode()))
    return packed.getvalue()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without gcloud, and where the workbook's own goes."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "mkdir"):
        (tools / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv(gcloud.HOME, str(tmp_path / "own"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in (gcloud.FORBID, gcloud.ARCHIVE, gcloud.SHA256, "CLOUDSDK_PYTHON", "WORKBOOK_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    return tmp_path / "own"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive on this machine that the set-up is told to take."""
    path = tmp_path / "sdk.tar.gz"
    path.write_bytes(_sdk())
    monkeypatch.setenv(gcloud.ARCHIVE, str(path))
    return path


def _ensure() -> tuple[bool, str]:
    said: list[str] = []
    there = gcloud.ensure(said.append)
    return there, "\n".join(said)


def test_archive_is_installed_for_the_workbook_only(home: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "somebody-elses")
    there, said = _ensure()
    assert there
    assert "470 MB on disk" in said
    assert "gcloud 1.2.3 is ready" in said
    assert gcloud_components.missing(str(home / "google-cloud-sdk/bin/gcloud")) == ()
    told = (home / "google-cloud-sdk/told").read_text().splitlines()
    assert [line.partition(" CLOUDSDK_CONFIG")[0] for line in told] == [
        "version --quiet",
        "components install beta local-extract --quiet",
    ]
    # The user's own configuration isn't touched, and no folder of ours is left where it ran.
    assert f"CLOUDSDK_CONFIG={home}" in told[0]
    assert sorted(path.name for path in home.iterdir()) == ["google-cloud-sdk", "lock"]


def test_second_set_up_prints_and_does_nothing(home: Path, archive: Path) -> None:
    _ensure()
    before = (home / "google-cloud-sdk").stat().st_ino
    assert _ensure() == (True, "")
    assert (home / "google-cloud-sdk").stat().st_ino == before


def test_other_archive_replaces_the_gcloud(home: Path, archive: Path) -> None:
    _ensure()
    archive.write_bytes(_sdk(version="2.0.0"))
    assert "gcloud 2.0.0 is ready" in _ensure()[1]
    assert gcloud.version() == "2.0.0"


def test_gcloud_of_an_archive_stays_without_the_setting(
    home: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ensure()
    monkeypatch.delenv(gcloud.ARCHIVE)
    monkeypatch.setattr(gcloud_archives, "official", lambda: gcloud_archives.Archive("http://127.0.0.1:1/x", "0" * 64))
    assert _ensure() == (True, "")


def test_newer_pin_replaces_the_gcloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0.0", "2.0.0"):
        content = _sdk(version=version)
        with serving(Behaviour(content)) as url:
            pinned = gcloud_archives.Archive(url, hashlib.sha256(content).hexdigest())
            monkeypatch.setattr(gcloud_archives, "official", lambda pinned=pinned: pinned)
            assert f"gcloud {version} is ready" in _ensure()[1]
            assert _ensure() == (True, "")


def test_workbooks_gcloud_is_on_the_path_only_without_another(home: Path, archive: Path, tmp_path: Path) -> None:
    assert gcloud.environment() == {}
    _ensure()
    own = home / "google-cloud-sdk/bin"
    assert gcloud.environment({"PATH": "/a:/b"})["PATH"] == f"/a:/b:{own}"
    users = tmp_path / "users"
    users.mkdir()
    (users / "gcloud").write_text("#!/bin/sh\n")
    (users / "gcloud").chmod(0o755)
    assert gcloud.environment({"PATH": str(users)}) == {}


def test_archive_is_reported_as_unused_if_gcloud_is_installed(
    home: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = tmp_path / "sdk"
    for file in ("bin/gcloud", *gcloud_components.FILES.values()):
        (sdk / file).parent.mkdir(parents=True, exist_ok=True)
        (sdk / file).write_text("#!/bin/sh\n")
    (sdk / "bin/gcloud").chmod(0o755)
    monkeypatch.setenv("PATH", f"{sdk}/bin{os.pathsep}{os.environ['PATH']}")
    assert _ensure() == (True, f"WORKBOOK_GCLOUD_ARCHIVE isn't used: {sdk}/bin/gcloud is on the PATH.")
    monkeypatch.delenv(gcloud.ARCHIVE)
    assert _ensure() == (True, "")
    for name, file in gcloud_components.FILES.items():
        (sdk / file).unlink()
        there, said = _ensure()
        assert there
        assert f"{sdk}/bin/gcloud lacks its component {name}" in said
    assert not home.exists()


@pytest.mark.parametrize(("machine", "bundled", "own"), [
    ("x86_64", True, False), ("aarch64", True, True), ("aarch64", False, True), ("x86_64", False, True),
])  # fmt: skip
def test_gcloud_without_a_fitting_python_uses_the_workbooks(
    machine: str, bundled: bool, own: bool, home: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcloud.platform, "machine", lambda: machine)
    archive.write_bytes(_sdk(**({"platform/bundledpythonunix/bin/python3": "#!/bin/sh\n"} if bundled else {})))
    _ensure()
    assert gcloud.environment({"PATH": "/a"}).get("CLOUDSDK_PYTHON") == (sys.executable if own else None)
    told = (home / "google-cloud-sdk/told").read_text()
    assert told.count(f"CLOUDSDK_PYTHON={sys.executable if own else ''}\n") == 2
    assert "CLOUDSDK_PYTHON" not in gcloud.environment({"PATH": "/a", "CLOUDSDK_PYTHON": "/mine"})


def test_download_can_be_forbidden(home: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gcloud.FORBID, "0")
    there, said = _ensure()
    assert not there
    assert said.startswith("No gcloud is on the PATH, and WORKBOOK_INSTALL_GCLOUD=0 forbids downloading one.")
    assert not home.exists()


@pytest.mark.parametrize(("chosen", "sha256", "said"), [
    ("/nowhere/sdk.tar.gz", "", "which is no file here"),
    ("https://example.com/sdk.tar.gz", "", "is an address, so WORKBOOK_GCLOUD_SHA256 must say"),
    ("https://example.com/sdk.tar.gz", "abc", "must be a SHA-256: 64 hexadecimal digits"),
])  # fmt: skip
def test_invalid_setting_ends_the_set_up(
    chosen: str, sha256: str, said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gcloud.ARCHIVE, chosen)
    monkeypatch.setenv(gcloud.SHA256, sha256)
    with pytest.raises(MachineError, match=said):
        _ensure()
    assert not home.exists()


def test_archive_is_checked_against_the_given_hash(home: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gcloud.SHA256, "0" * 64)
    with pytest.raises(MachineError, match="is not the archive that WORKBOOK_GCLOUD_SHA256 says"):
        _ensure()
    monkeypatch.setenv(gcloud.SHA256, hashlib.sha256(archive.read_bytes()).hexdigest().upper())
    assert _ensure()[0]


def test_archive_is_downloaded_checked_and_deleted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = _sdk()
    monkeypatch.setenv(gcloud.SHA256, hashlib.sha256(content).hexdigest())
    behaviour = Behaviour(content, cuts=[10])
    with serving(behaviour) as url:
        monkeypatch.setenv(gcloud.ARCHIVE, url)
        assert _ensure()[0]
        assert _ensure() == (True, "")
    assert len(behaviour.asked) == 2, "one answer was cut off, one was whole"
    assert not (home / "downloads").exists()


def test_wrong_hash_is_reported_and_the_set_up_continues(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gcloud.SHA256, "0" * 64)
    with serving(Behaviour(_sdk())) as url:
        monkeypatch.setenv(gcloud.ARCHIVE, url)
        there, said = _ensure()
    assert not there
    assert "is not the archive that was meant" in said
    assert "a run of all notebooks ends with PARTIAL" in said
    assert gcloud.program() is None
    assert list((home / "downloads").iterdir()) == []


def test_missing_network_is_reported_in_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcloud_archives, "_FOLDER", "http://127.0.0.1:1/downloads")
    monkeypatch.setattr(gcloud_archives.platform, "system", lambda: "Linux")
    monkeypatch.setattr(gcloud_archives.platform, "machine", lambda: "x86_64")
    there, said = _ensure()
    assert not there
    assert "can't be downloaded: the server can't be reached." in said


def test_unknown_platform_is_reported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcloud_archives.platform, "machine", lambda: "riscv64")
    there, said = _ensure()
    assert not there
    assert "no archive of it is known for" in said


@pytest.mark.parametrize(("content", "reason"), [
    (b"not an archive", "is no archive that can be read"),
    (_sdk(folder="something-else"), "holds no google-cloud-sdk/bin/gcloud"),
    (_sdk(folder="google-cloud-sdk/../.."), "would be written outside the folder"),
    (_sdk("#!/bin/sh\necho 'exec format error' >&2\nexit 1\n"), "doesn't run here: exec format error"),
], ids=["no archive", "another program", "hostile", "another platform"])  # fmt: skip
def test_invalid_archive_is_refused_and_the_gcloud_kept(
    content: bytes, reason: str, home: Path, archive: Path, tmp_path: Path
) -> None:
    _ensure()
    archive.write_bytes(content)
    there, said = _ensure()
    assert there
    assert reason in said
    assert said.endswith("The one from before stays.")
    assert gcloud.version() == "1.2.3"
    assert sorted(path.name for path in home.iterdir()) == ["google-cloud-sdk", "lock"]
    assert not (tmp_path / "bin").exists()


def test_failed_component_is_reported_and_tried_again(home: Path, archive: Path) -> None:
    archive.write_bytes(_sdk(PROGRAM.replace("then printf", "then echo 'no network' >&2; exit 1; printf")))
    for _ in range(2):
        there, said = _ensure()
        assert there
        assert "beta and local-extract could not be added (no network)." in said


def test_two_concurrent_set_ups_install_one_gcloud(home: Path, archive: Path) -> None:
    script = "from machine import gcloud; gcloud.ensure(print)"
    command = [sys.executable, "-c", script]
    both = [
        subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [one.communicate(timeout=60)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0, 0]
    assert sorted("is ready" in text for text in said) == [False, False, True]
    assert gcloud.version() == "1.2.3"


def test_files_of_a_killed_set_up_are_removed(home: Path, archive: Path) -> None:
    (home / "unpacking-1/google-cloud-sdk").mkdir(parents=True)
    assert _ensure()[0]
    assert sorted(path.name for path in home.iterdir()) == ["google-cloud-sdk", "lock"]


@pytest.mark.parametrize(("system", "machine"), [
    ("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64"),
])  # fmt: skip
def test_every_platform_has_an_archive_with_a_hash(system: str, machine: str) -> None:
    found = gcloud_archives.official(system, machine)
    assert found is not None
    assert found.is_remote
    assert gcloud_archives.VERSION in found.place
    assert len(bytes.fromhex(found.sha256)) == 32
    others = {gcloud_archives.official("Linux", "x86_64"), gcloud_archives.official("Darwin", "arm64")} - {found}
    assert found.sha256 not in {one.sha256 for one in others if one}
