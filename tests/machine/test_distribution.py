"""What may be installed here, and that nothing of it lingers."""

from __future__ import annotations

from pathlib import Path

import pytest

from machine import distribution
from machine.errors import EngineMissing


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; commands are planted there as shell scripts. Returns the folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("POLICY", str(tmp_path / "policy-rc.d"))
    return folder


def _plant(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ID=debian\n", True),
        ('ID=ubuntu\nID_LIKE="debian"\n', True),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', True),
        ("ID=fedora\n", False),
        ('NAME="not debian"\nID=arch\n', False),
    ],
)
def test_debian_like_systems_are_recognized(apt: Path, tmp_path: Path, text: str, expected: bool) -> None:
    _plant(apt, "apt-get", "exit 0")
    release = tmp_path / "os-release"
    release.write_text(text)
    assert distribution.is_debian_like(release) is expected


def test_without_apt_nothing_is_debian_like(apt: Path, tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text("ID=debian\n")
    assert not distribution.is_debian_like(release)


def test_services_are_not_started_during_an_installation(apt: Path, tmp_path: Path) -> None:
    _plant(apt, "apt-cache", 'echo "Candidate: 1"')
    _plant(apt, "apt-get", '"$POLICY" docker start; echo "$* -> $? $RUNLEVEL" >>"$NOTES"')
    said: list[str] = []
    distribution.install_docker(said.append, policy=tmp_path / "policy-rc.d")
    notes = (tmp_path / "notes").read_text()
    assert "install --no-install-recommends docker.io docker-cli -> 101 1" in notes
    assert not (tmp_path / "policy-rc.d").exists()
    assert "docker.io" in said[0]
    assert "WORKBOOK_INSTALL_ENGINE=0" in said[0]


def test_administrators_policy_is_kept(apt: Path, tmp_path: Path) -> None:
    _plant(apt, "apt-cache", 'echo "Candidate: 1"')
    _plant(apt, "apt-get", "exit 0")
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    distribution.install_docker(print, policy=policy)
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_old_lists_are_renewed_and_a_failure_is_reported(apt: Path, tmp_path: Path) -> None:
    _plant(apt, "apt-cache", 'echo "Candidate: (none)"')
    _plant(apt, "apt-get", 'echo "$*" >>"$NOTES"; echo "E: no way" >&2; exit 100')
    policy = tmp_path / "policy-rc.d"
    with pytest.raises(EngineMissing, match="apt says 'E: no way'"):
        distribution.install_docker(print, policy=policy)
    notes = (tmp_path / "notes").read_text().splitlines()
    assert notes[0].endswith(" update")
    assert notes[1].endswith(" docker.io")
    assert not policy.exists()


def test_policy_is_executable(apt: Path, tmp_path: Path) -> None:
    _plant(apt, "apt-cache", 'echo "Candidate: 1"')
    _plant(apt, "apt-get", '[ -x "$POLICY" ] && echo yes >"$NOTES"')
    distribution.install_docker(print, policy=tmp_path / "policy-rc.d")
    assert (tmp_path / "notes").read_text() == "yes\n"


def test_curl_is_installed_or_the_learner_is_asked_to(
    apt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(distribution.os, "geteuid", lambda: 1000)
    distribution.ensure_curl(said.append)
    assert said == [
        "curl isn't on the PATH, and notebook 6 calls a service with it. Install it (apt-get install curl)."
    ]
    said.clear()
    monkeypatch.setattr(distribution.os, "geteuid", lambda: 0)
    monkeypatch.setattr(distribution, "is_debian_like", lambda: True)
    # The lists are old at first.
    _plant(
        apt,
        "apt-get",
        f'case "$*" in *update*) : > {tmp_path}/lists;; *) : < {tmp_path}/lists && : > {apt}/curl;; esac',
    )
    monkeypatch.setattr(distribution.shutil, "which", lambda name: "/x" if (apt / "curl").exists() else None)
    distribution.ensure_curl(said.append)
    assert said == ["Installing curl from the distribution's packages, about 1 MB."]
    distribution.ensure_curl(said.append)
    assert len(said) == 1
