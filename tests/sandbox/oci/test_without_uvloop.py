"""The registry on Python's own event loop, as on a system that uvloop doesn't know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.target import SandboxInfo
from tests.sandbox.oci.conftest import Registry


@pytest.fixture(scope="module", autouse=True)
def _no_uvloop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a sandbox that starts now finds in the place of uvloop."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "uvloop.py").write_text("raise ModuleNotFoundError(\"No module named 'uvloop'\", name='uvloop')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield


def test_it_takes_and_gives_images(registry: Registry, fresh: str) -> None:
    pid = SandboxInfo.read(registry.home / "sandbox.json").pid
    maps = Path(f"/proc/{pid}/maps")
    if maps.exists():
        assert "uvloop" not in maps.read_text()
    # More than a socket's buffer holds, so that both sides have to wait for each other.
    content = os.urandom(8_000_000)
    digest = registry.push_blob(fresh, content)
    registry.push_manifest(fresh, "1.0.0", registry.image(fresh, content))
    assert registry.call("GET", f"{fresh}/manifests/1.0.0").status_code == 200
    assert registry.call("GET", f"{fresh}/blobs/{digest}").content == content
    part = registry.call("GET", f"{fresh}/blobs/{digest}", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, content[100:200])
