"""Push and pull with python-dxf, a client of blobs and aliases with its own implementation of the token flow.

It sends credentials over HTTPS only, so the tests use the edge.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from dxf import DXF
from dxf.exceptions import DXFUnauthorizedError

if TYPE_CHECKING:
    from tests.sandbox.oci.conftest import Registry

HOST = "us-central1-docker.pkg.dev"


@pytest.fixture(autouse=True)
def through_the_edge(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = json.loads((registry.home / "sandbox.json").read_text())["edge_port"]
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{edge}")
    for name in ("NO_PROXY", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def open_registry(registry: Registry, name: str, who: str) -> DXF:
    """Return a client that answers each challenge with the access token of a principal."""

    def authenticate(client: DXF, response: Any) -> None:
        client.authenticate("oauth2accesstoken", registry.tokens[who], response=response)

    return DXF(HOST, name.removeprefix(f"{HOST}/"), authenticate, tlsverify=str(registry.home / "ca" / "ca.pem"))


def test_pushed_blob_is_listed_and_pulled(registry: Registry, fresh: str, tmp_path: Path) -> None:
    content = secrets.token_bytes(3 << 20)
    (tmp_path / "thing").write_bytes(content)
    with open_registry(registry, fresh, "writer") as writer:
        digest = writer.push_blob(str(tmp_path / "thing"))
        assert digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
        config = writer.push_blob(data=iter([b"{}"]), digest=f"sha256:{hashlib.sha256(b'{}').hexdigest()}")
        assert config.startswith("sha256:")
        writer.set_alias("v1", digest)
        writer.set_alias("v2", digest)
    with open_registry(registry, fresh, "reader") as reader:
        assert reader.list_aliases() == ["v1", "v2"]
        assert reader.get_alias("v1") == [digest]
        chunks, size = reader.pull_blob(digest, size=True)
        assert size == len(content)
        assert b"".join(chunks) == content
        with pytest.raises((DXFUnauthorizedError, requests.HTTPError)):
            reader.push_blob(data=iter([b"not mine"]), digest=f"sha256:{hashlib.sha256(b'not mine').hexdigest()}")
    with open_registry(registry, fresh, "repoadmin") as admin:
        admin._request("delete", "manifests/v2")
        assert admin.list_aliases() == ["v1"]


def test_aliases_are_listed_in_pages(registry: Registry, fresh: str) -> None:
    image = registry.image(fresh, b"layer")
    for number in range(5):
        registry.push_manifest(fresh, f"v{number}", image)
    with open_registry(registry, fresh, "reader") as reader:
        assert list(reader.list_aliases(batch_size=2, iterate=True)) == [f"v{number}" for number in range(5)]
