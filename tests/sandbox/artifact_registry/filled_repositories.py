"""A repository that tests fill with images, over a socket or in this process."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

HOST = "us-central1-docker.pkg.dev"
API = "https://artifactregistry.googleapis.com/v1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Held:
    """A repository to fill, and clients to read it.

    Attributes:
        session: the learner's session, over a socket or in this process.
    """

    name: str
    session: Any

    @property
    def image(self) -> str:
        project, repository = self.name.split("/")[1], self.name.rpartition("/")[2]
        return f"https://{HOST}/v2/{project}/{repository}"

    def blob(self, package: str, content: bytes) -> dict[str, Any]:
        """Push a blob, and return its descriptor without the media type."""
        digest = digest_of(content)
        answer = self.session.post(f"{self.image}/{package}/blobs/uploads/?digest={digest}", data=content)
        assert answer.status_code == 201, answer.text
        return {"digest": digest, "size": len(content)}

    def push(self, package: str, tag: str = "", layer: bytes = b"layer", **more: Any) -> str:
        """Push an image that is unique to the call, and return its digest."""
        config = self.blob(package, json.dumps({"salt": secrets.token_hex(4)}).encode())
        entry = {"mediaType": "application/vnd.oci.image.layer.v1.tar", **self.blob(package, layer)}
        described = {"mediaType": CONFIG, **config}
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": [entry], **more}
        return self.put(package, tag, body)

    def put(self, package: str, tag: str, body: dict[str, Any]) -> str:
        content = json.dumps(body).encode()
        digest = digest_of(content)
        url = f"{self.image}/{package}/manifests/{tag or digest}"
        answer = self.session.put(url, data=content, headers={"Content-Type": body["mediaType"]})
        assert answer.status_code == 201, answer.text
        return digest

    def version(self, package: str, digest: str) -> str:
        return f"{self.name}/packages/{package.replace('/', '%2F')}/versions/{digest}"

    def get(self, path: str, **query: Any) -> Any:
        return self.session.get(f"{API}/{self.name}/{path}", params=query)
