"""This machine's gcloud as an archive, as Google makes them: installed by the set-up, and able to do what it must."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from machine import gcloud
from tests.machine.archive_server import Behaviour, serving

ROOT = Path(__file__).resolve().parents[2]
# What Google's archive holds, and the component that the set-up adds to it.
PARTS = (
    *("core", "core-nix", "gcloud-deps", "gcloud-deps-linux-x86_64", "beta", "gcloud-crc32c"),
    *("gcloud-crc32c-linux-x86_64", "bundled-python3-unix", "bundled-python3-unix-linux-x86_64"),
    *("local-extract", "local-extract-linux-x86_64"),
)


def _archive(sdk: Path, target: Path) -> Path:
    """An archive of these parts, by the lists that the SDK keeps of them."""
    named = {"VERSION", "properties"}
    for part in PARTS:
        manifest = sdk / ".install" / f"{part}.manifest"
        if manifest.exists():
            named |= {
                str(manifest.relative_to(sdk)),
                f".install/{part}.snapshot.json",
                *manifest.read_text().split("\n"),
            }
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for name in sorted(named - {""}):
            path = sdk / name
            if path.is_symlink() or path.is_file():
                tar.add(path, f"google-cloud-sdk/{name}", recursive=False)
    return target


@pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="packs and unpacks a whole SDK: make soak")
@pytest.mark.timeout(900)
def test_real_archive_is_downloaded_in_parts_and_knows_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shutil.which("gcloud")
    if found is None:
        pytest.skip("gcloud isn't on the PATH")
    sdk = Path(found).resolve().parents[1]
    if not (sdk / ".install" / "local-extract.manifest").exists():
        pytest.skip("this gcloud has no local-extract, or isn't made of Google's components")
    content = _archive(sdk, tmp_path / "sdk.tar.gz").read_bytes()
    monkeypatch.setattr(gcloud, "foreign", lambda: None)
    monkeypatch.setenv(gcloud.HOME, str(tmp_path / "own"))
    monkeypatch.setenv(gcloud.SHA256, hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("WORKBOOK_HOME", raising=False)
    said: list[str] = []
    # Cut off twice on the way.
    with serving(Behaviour(content, cuts=[len(content) // 3, len(content) // 3])) as url:
        monkeypatch.setenv(gcloud.ARCHIVE, url)
        assert gcloud.ensure(said.append), said
    own = tmp_path / "own" / "google-cloud-sdk"
    assert (own / "bin" / "local-extract").is_file()
    monkeypatch.undo()

    # The command line's own linter reads all commands that a learner can read, with this gcloud in the other's place.
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for program in Path(folder).iterdir():
            if "gcloud" not in program.name and not (tools / program.name).exists():
                (tools / program.name).symlink_to(program)
    script = (
        "import shutil, tempfile, pathlib; from cli import command_lint as lint\n"
        "found = lint.readable(); print(shutil.which('gcloud'))\n"
        "verdicts = lint.lint([command for _, command in found], pathlib.Path(tempfile.mkdtemp()))\n"
        "print([one for one in verdicts if not one['success']], len(found))\n"
    )
    linted = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"PATH": f"{tools}:{own / 'bin'}", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    where, verdict = linted.stdout.splitlines() if linted.returncode == 0 else (linted.stderr, "")
    assert where == str(own / "bin" / "gcloud")
    assert verdict.startswith("[] "), verdict
    assert int(verdict.split()[-1]) > 50
