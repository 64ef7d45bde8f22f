"""Push, list and pull files with oras, the library for artifacts.

Its default, the token backend, requests a token to pull when it looks for a blob, and sends the same token with the
push. It does not request another token when the registry challenges it to.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import oras.client
import pytest
import requests

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

KIND = "application/vnd.workbook.report+json"


def client(registry: Registry, who: str, backend: str) -> oras.client.OrasClient:
    opened = oras.client.OrasClient(hostname=f"localhost:{registry.port}", insecure=True, auth_backend=backend)
    opened.session.trust_env = False
    opened.auth.set_basic_auth("oauth2accesstoken", registry.tokens[who])
    return opened


@pytest.mark.parametrize("backend", ["basic", "token"])
def test_pushed_files_are_pulled(
    registry: Registry, fresh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    (tmp_path / "from").mkdir()
    monkeypatch.chdir(tmp_path / "from")
    content = secrets.token_bytes(100_000)
    Path("report.json").write_bytes(content)
    target = f"localhost:{registry.port}/{fresh}:v1"
    answer = client(registry, "writer", backend).push(target, files=[f"report.json:{KIND}"])
    assert answer.status_code == 201, answer.text
    reader = client(registry, "reader", backend)
    assert reader.get_tags(target) == ["v1"]
    assert reader.get_manifest(target)["layers"][0]["mediaType"] == KIND
    [pulled] = reader.pull(target, outdir=str(tmp_path / "to"))
    assert Path(pulled).read_bytes() == content


def test_reader_cannot_push(registry: Registry, fresh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a")
    with pytest.raises((ValueError, requests.HTTPError)):
        client(registry, "reader", "basic").push(f"localhost:{registry.port}/{fresh}:v1", files=["a.txt"])
    assert registry.call("GET", f"{fresh}/tags/list").status_code == 404


def test_api_lists_an_image_pushed_by_oras(
    registry: Registry, fresh: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a")
    assert client(registry, "writer", "basic").push(f"localhost:{registry.port}/{fresh}:v1", files=["a.txt"]).ok
    parent = f"projects/{registry.project}/locations/us-central1/repositories/ml-images"
    package = fresh.rpartition("/")[2]
    listed = registry.api("GET", f"artifactregistry.googleapis.com/v1/{parent}/packages/{package}/versions?view=FULL")
    assert [tag["name"].rpartition("/")[2] for tag in listed["versions"][0]["relatedTags"]] == ["v1"]
