"""Run the registry on Python's own event loop, as on systems that uvloop does not support."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.target import SandboxInfo
from tests.sandbox.oci.conftest import Registry, serving


def test_images_are_pushed_and_pulled_without_uvloop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/uvloop.py").write_text("raise ModuleNotFoundError('none', name='uvloop')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"), prepend=os.pathsep)
    with serving(tmp_path / "registry") as registry:
        _push_and_pull(registry)


def _push_and_pull(registry: Registry) -> None:
    fresh = registry.name("big")
    pid = SandboxInfo.read(registry.home / "sandbox.json").pid
    maps = Path(f"/proc/{pid}/maps")
    if maps.exists():
        assert "uvloop" not in maps.read_text()
    # Larger than a socket's buffer, so that both sides have to wait for each other.
    content = os.urandom(8_000_000)
    digest = registry.push_blob(fresh, content)
    registry.push_manifest(fresh, "1.0.0", registry.image(fresh, content))
    assert registry.call("GET", f"{fresh}/manifests/1.0.0").status_code == 200
    assert registry.call("GET", f"{fresh}/blobs/{digest}").content == content
    part = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
