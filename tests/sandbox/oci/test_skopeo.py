"""Copy, list and delete images with skopeo, which has its own implementation of the protocol."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

Run = Callable[..., subprocess.CompletedProcess[str]]

PLAIN = ("--src-tls-verify=false", "--dest-tls-verify=false")


@pytest.fixture
def run(registry: Registry, tmp_path: Path) -> Run:
    """Return a function that runs skopeo. Its cache of blob locations is in the test's folder."""
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo isn't installed")
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    logins = tmp_path / "auth.json"

    def call(*args: str, who: str = "owner") -> subprocess.CompletedProcess[str]:
        subprocess.run(
            ["skopeo", "login", "--authfile", str(logins), "--tls-verify=false", "-u", "oauth2accesstoken",
             "--password-stdin", f"localhost:{registry.port}"],
            env=environment, input=registry.tokens[who], capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return subprocess.run(
            ["skopeo", "--insecure-policy", args[0], "--authfile", str(logins), *args[1:]],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def multi(registry: Registry, fresh: str) -> str:
    """Push an image for two platforms, and return its digest."""
    described = []
    for architecture in ("amd64", "arm64"):
        body = json.dumps(registry.image(fresh, secrets.token_bytes(50_000))).encode()
        digest = registry.push_manifest(fresh, architecture, body)
        platform = {"os": "linux", "architecture": architecture}
        kind = "application/vnd.oci.image.manifest.v1+json"
        described.append({"mediaType": kind, "digest": digest, "size": len(body), "platform": platform})
    kind = "application/vnd.oci.image.index.v1+json"
    return registry.push_manifest(fresh, "v1", {"schemaVersion": 2, "mediaType": kind, "manifests": described})


def test_copy_out_and_back_keeps_the_image(
    registry: Registry, run: Run, fresh: str, multi: str, tmp_path: Path
) -> None:
    source = f"docker://localhost:{registry.port}/{fresh}:v1"
    layout = f"oci:{tmp_path / 'layout'}:v1"
    out = run("copy", "--all", "--preserve-digests", *PLAIN, source, layout)
    assert out.returncode == 0, out.stderr
    target = registry.name(f"copy-{secrets.token_hex(4)}", "second")
    back = run("copy", "--all", "--preserve-digests", *PLAIN, layout, f"docker://localhost:{registry.port}/{target}:v2")
    assert back.returncode == 0, back.stderr
    assert registry.call("HEAD", f"{target}/manifests/v2").headers["Docker-Content-Digest"] == multi


def test_copy_between_repositories_keeps_the_digest(registry: Registry, run: Run, fresh: str, multi: str) -> None:
    target = registry.name(f"copy-{secrets.token_hex(4)}", "second")
    source, sink = (f"docker://localhost:{registry.port}/{name}" for name in (f"{fresh}:v1", f"{target}:v1"))
    answer = run("copy", "--all", "--preserve-digests", *PLAIN, source, sink)
    assert answer.returncode == 0, answer.stderr
    assert registry.call("HEAD", f"{target}/manifests/v1").headers["Docker-Content-Digest"] == multi


def test_tags_are_listed_and_deleted(registry: Registry, run: Run, fresh: str) -> None:
    digest = registry.push_manifest(fresh, "one", registry.image(fresh, b"layer"))
    place = f"docker://localhost:{registry.port}/{fresh}"
    listed = run("list-tags", "--tls-verify=false", place)
    assert json.loads(listed.stdout)["Tags"] == ["one"], listed.stderr
    # skopeo deletes by digest, which Artifact Registry refuses while the manifest has a tag.
    refused = run("delete", "--tls-verify=false", f"{place}:one")
    assert refused.returncode == 1
    assert "referenced by one or more tags" in refused.stderr
    assert registry.call("DELETE", f"{fresh}/manifests/one").status_code == 202
    deleted = run("delete", "--tls-verify=false", f"{place}@{digest}")
    assert deleted.returncode == 0, deleted.stderr
    assert registry.call("HEAD", f"{fresh}/manifests/{digest}").status_code == 404


def test_reader_cannot_push(registry: Registry, run: Run, fresh: str, multi: str, tmp_path: Path) -> None:
    place = f"docker://localhost:{registry.port}/{fresh}"
    layout = f"oci:{tmp_path / 'layout'}:v1"
    assert run("copy", *PLAIN, "--override-arch=amd64", f"{place}:amd64", layout, who="reader").returncode == 0
    refused = run("copy", *PLAIN, layout, f"{place}:mine", who="reader")
    assert refused.returncode == 1
    # skopeo shows the token endpoint's status, not its message.
    assert "403 (Forbidden)" in refused.stderr
