"""Signatures of registry tokens, and of addresses for downloads and uploads, which need no Authorization.

As on Google, a request for a blob is redirected to a signed address on the same host, and an upload continues at one.
These addresses are outside /v2, are long, contain their repository, and expire:

    /artifacts-downloads/namespaces/P/repositories/R/downloads/TOKEN      about 1000 characters
    /artifacts-uploads/namespaces/P/repositories/R/uploads/TOKEN          1500 and more

Seen by users of Artifact Registry, 2022 to 2026; docs/fidelity.md. The content of the token is the sandbox's own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from sandbox.api.principal import Principal
from sandbox.artifact_registry.image_names import host_of
from sandbox.errors import RegistryError
from sandbox.iam import standing
from sandbox.oci.address import Address, RegistryCall, image_of
from sandbox.state.disk import sync_folder
from sandbox.state.world import World

Kind = Literal["upload", "download"]

LIFETIME = 3600  # seconds; unverified: Google's
_LENGTHS: dict[Kind, int] = {"upload": 1500, "download": 1000}  # characters of a token
_LEAST = 32  # bytes of a signature, at least
_PATH = re.compile(
    r"/artifacts-(?P<kind>upload|download)s/namespaces/(?P<project>[^/]+)/repositories/(?P<repository>[^/]+)/(?P=kind)s"
    r"/(?P<token>[^/]+)"
)


@dataclass(frozen=True)
class Signed:
    """The content of a signed address.

    Attributes:
        address: the endpoint of the request whose response contained it.
        reference: a digest, or the id of an upload.
    """

    kind: Kind
    address: Address
    name: str
    reference: str
    principal: Principal


def key(world: World) -> bytes:
    """Return the world's signing key: 32 bytes in the state folder, with mode 0600, created at the first call."""
    return world.part(_key)


def _key(world: World) -> bytes:
    path = world.folder / "registry-key"
    if not path.exists():
        part = path.with_name(f"registry-key.{secrets.token_hex(8)}")
        part.touch(mode=0o600, exist_ok=False)
        with part.open("wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        sync_folder(world.folder)
    return path.read_bytes()


def encode(content: bytes) -> str:
    """Return bytes as URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pack(claims: dict[str, Any]) -> str:
    """Return claims as the payload of a token."""
    return encode(json.dumps(claims, separators=(",", ":")).encode())


def unpack(payload: str) -> Any:
    """Return the claims in a payload whose signature was verified."""
    return json.loads(_decode(payload))


def _signature(world: World, kind: Kind, payload: str) -> str:
    # SHAKE256 returns any number of bytes, so that an address is as long as Google's.
    count = max(_LEAST, (_LENGTHS[kind] - len(payload) - 1) * 3 // 4)
    return encode(hashlib.shake_256(key(world) + f"{kind}:{payload}".encode()).digest(count))


def address_of(call: RegistryCall, kind: Kind, reference: str, principal: Principal) -> str:
    """Return the absolute path at which the caller can download a blob or continue an upload."""
    with call.world.reading() as rows:
        era = standing.era(rows, principal.member)
    payload = pack(
        {
            "base": urlsplit(call.address.base).path,
            "prefix": call.address.prefix,
            "host": host_of(call.image.location),
            "name": call.image.path,
            "of": reference,
            "sub": principal.member,
            "era": era,
            "exp": int(time.time()) + LIFETIME,
        }
    )
    owner = f"/artifacts-{kind}s/namespaces/{call.image.project}/repositories/{call.image.repository_id}"
    return f"{owner}/{kind}s/{payload}.{_signature(call.world, kind, payload)}"


def is_signed(path: str) -> bool:
    """Return whether a path has the form of a signed address, with a valid token or not."""
    return path.startswith(("/artifacts-uploads/", "/artifacts-downloads/"))


def open_address(world: World, address: Address) -> Signed:
    """Return the content of a signed address.

    Raises:
        RegistryError: DENIED if the signature is wrong, or the address is expired, revoked or of another repository
            (unverified: code and message).
    """
    match = _PATH.fullmatch(address.path)
    if match is None:
        raise RegistryError(
            "UNSUPPORTED", f"{address.path[:200]!r} is not an address of this registry", http_status=404
        )
    kind: Kind = "upload" if match["kind"] == "upload" else "download"
    payload, _, signature = match["token"].partition(".")
    if not hmac.compare_digest(_signature(world, kind, payload).encode(), signature.encode()):
        raise RegistryError("DENIED", f"This {kind} address is not one that the registry gave: copy it whole")
    claims = unpack(payload)
    if claims["exp"] <= time.time():
        raise RegistryError("DENIED", f"This {kind} address has expired: ask for the blob again")
    image = image_of(claims["host"], claims["name"])
    here = address.host in ("", claims["host"])
    if not here or (match["project"], match["repository"]) != (image.project, image.repository_id):
        raise RegistryError("DENIED", f"This {kind} address is one of another repository")
    with world.reading() as rows:
        ended = claims["era"] != standing.era(rows, claims["sub"]) or not standing.is_active(rows, claims["sub"])
    if ended:
        raise RegistryError("DENIED", f"This {kind} address has ended, with its account's or all tokens")
    origin = urlsplit(address.base)
    base = f"{origin.scheme}://{origin.netloc}{claims['base']}"
    shown = replace(address, host=claims["host"], base=base, prefix=claims["prefix"])
    return Signed(kind, shown, claims["name"], claims["of"], Principal(claims["sub"]))
