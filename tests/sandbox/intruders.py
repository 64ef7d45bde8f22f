"""A sandbox's routes as somebody calls them who may not, and the credentials that he brings."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox import seed
from sandbox.api.methods import Api, Method

HOST = "us-central1-docker.pkg.dev"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# What a path does not name: the project that a bucket is made in.
QUERIES: dict[str, Callable[[str], dict[str, str]]] = {
    "storage.buckets.insert": lambda project: {"project": project},
    "storage.buckets.list": lambda project: {"project": project},
}
BODIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "logging.entries.list": lambda project: {"resourceNames": [f"projects/{project}"]},
}


@dataclass(frozen=True)
class Target:
    """A sandbox with a project that has everything, and credentials that are no good for it."""

    base: str
    edge: int
    ca: str
    home: Path
    project: str
    number: str
    owner: str
    bad: dict[str, str]
    stranger: str

    def call(self, verb: str, path: str, token: str = "", **options: Any) -> requests.Response:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **options.pop("headers", {})}
        return SESSION.request(
            verb, f"{self.base}{path}", headers=headers, timeout=30, allow_redirects=False, **options
        )

    def path(self, method: Method, version_of: str = "") -> str:
        """The method's path with names of things that are there, and `none` for what this file does not know."""
        names = {
            "project": version_of or self.project,
            "owner": self.project,
            "location": "us-central1",
            "repository": "private",
            "package": "app",
            "version": DIGEST,
            "tag": "v1",
            "image": f"app@{DIGEST}",
            "file": DIGEST,
            "operation": f"cp.{self.number}" if "cloudresourcemanager" in method.id else f"acf.p2-{self.number}-x",
            "account": seed.BILLING_ACCOUNT.partition("/")[2]
            if method.id.startswith(("cloudbilling", "billingbudgets"))
            else f"learner@{self.project}.iam.gserviceaccount.com",
            "role": "mover" if "projects.roles" in method.id else "viewer",
            "service": "artifactregistry.googleapis.com",
            "bucket": f"{self.project}-bucket",
            "object": "thing.txt",
            "secret": "kept",
        }
        return re.sub(r"\{(\w+)\**\}", lambda match: names.get(match[1], "none"), method.path)

    def ask(self, api: Api, method: Method, token: str = "", project: str = "", **options: Any) -> requests.Response:
        """Call a method; a body that it needs to get as far as asking for rights."""
        body = BODIES.get(method.id, lambda _: {})(project or self.project)
        more: dict[str, Any] = {} if method.verb in ("GET", "DELETE") else {"json": body}
        more["params"] = QUERIES.get(method.id, lambda _: {})(project or self.project)
        return self.call(method.verb, f"/{host_of(api, method)}{self.path(method, project)}", token, **more, **options)


def host_of(api: Api, method: Method) -> str:
    """Where gcloud asks: Knative's surface of Cloud Run stands at the region's host only."""
    return f"us-central1-{api.service}" if method.path.startswith("/apis/serving.knative.dev/") else api.service


SESSION = requests.Session()
SESSION.trust_env = False
CONFIG = b"{}"
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
CONTENT = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": CONFIG_DIGEST,
            "size": len(CONFIG),
        },
        "layers": [],
    }
).encode()
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def forge(key: dict[str, str], audience: str, *, pem: str = "", ago: int = 0, **more: Any) -> str:
    """A self-signed JWT of the learner, or what somebody would like to pass for one."""
    now = int(time.time()) - ago
    claims = {"iss": key["client_email"], "sub": key["client_email"], "iat": now, "exp": now + 3600, "aud": audience}
    headers = {"kid": key["private_key_id"]}
    return jwt.encode(claims | more, signer(pem or key["private_key"]), algorithm="RS256", headers=headers)


@functools.cache
def signer(pem: str) -> rsa.RSAPrivateKey:
    """A key, read once: reading one takes as long as ten calls."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def unsigned(key: dict[str, str], audience: str) -> str:
    """A JWT that says of itself that it needs no signature."""
    now = int(time.time())
    claims = {"iss": key["client_email"], "sub": key["client_email"], "iat": now, "exp": now + 3600, "aud": audience}
    return jwt.encode(claims, "", algorithm="none", headers={"kid": key["private_key_id"]})


def foreign_pem() -> str:
    """A private key that no world knows."""
    return (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


BAD = ("garbage", "expired token", "forged JWT", "wrong audience", "old JWT", "unsigned JWT", "somebody else's claims")


def credentials(target: Target, kind: str, audience: str) -> str:
    """A bad credential that is as good as it can be for the host that is called."""
    key = json.loads((target.home / "learner-key.json").read_text())
    match kind:
        case "forged JWT":
            return forge(key, audience, pem=target.bad["foreign key"])
        case "wrong audience":
            return forge(key, "https://pubsub.googleapis.com/")
        case "old JWT":
            return forge(key, audience, ago=7200)
        case "unsigned JWT":
            return unsigned(key, audience)
        case "somebody else's claims":
            return forge(key, audience, iss=f"other@{target.project}.iam.gserviceaccount.com")
    return target.bad[kind]
