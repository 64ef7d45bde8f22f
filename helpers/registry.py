"""The registry's own HTTP API (OCI Distribution 1.1), for what docker and Google's client don't offer.

It reads manifests, and pushes small images, indexes and attestations without a Docker Engine. The addresses are
Google's in the sandbox too, where the environment sends requests to the sandbox.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import requests
from google.auth.transport.requests import AuthorizedSession

from helpers import names
from helpers.transport import clients

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT: Final = ", ".join((INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
PLATFORM: Final = "linux/amd64"
_SECONDS: Final = 60
_AT_ONCE: Final = 8


class RegistryRefused(RuntimeError):
    """The registry refused a request. The message is the registry's, `status` the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest: for an image its blobs (config and layers, digest → bytes), for an index its children.

    `size` is the manifest's own bytes, `layers` the blobs that are layers, and `subject` the digest that it refers to,
    or "". For an index, `platforms` has each child's platform, which for docker's attestations is "unknown/unknown".
    """

    digest: str
    media_type: str
    size: int
    blobs: Mapping[str, int]
    layers: Mapping[str, int]
    children: tuple[str, ...]
    platforms: Mapping[str, str]
    subject: str

    @property
    def runs(self) -> str:
        """The digest that Cloud Run runs: the manifest's own, an index's first child for linux/amd64, or ""."""
        if self.media_type not in (INDEX, DOCKER_INDEX):
            return self.digest
        return next((digest for digest in self.children if self.platforms[digest] == PLATFORM), "")


def manifest(name: names.Tag | names.Digest) -> Manifest:
    """Return the manifest that a tag or a digest names. Raises RegistryRefused."""
    reference = name.value if isinstance(name, names.Digest) else name.name
    answer = _call("GET", name.image, f"manifests/{reference}", headers={"Accept": _ACCEPT})
    return _parsed(answer.content, answer.headers["Content-Type"])


def image_manifest(name: names.Tag | names.Digest) -> Manifest:
    """Return the manifest of an image, or an index's image for linux/amd64.

    Raises RegistryRefused, also (404) for an index without such an image.
    """
    found = manifest(name)
    if not found.runs:
        raise RegistryRefused(f"{name} is an index without an image for {PLATFORM}", 404)
    return found if found.runs == found.digest else manifest(name.image.digest(found.runs))


def labels(name: names.Tag | names.Digest) -> dict[str, str]:
    """Return the labels in an image's configuration. Raises RegistryRefused."""
    found = image_manifest(name)
    config = next(digest for digest in found.blobs if digest not in found.layers)
    answer = _call("GET", name.image, f"blobs/{config}")
    return dict(json.loads(answer.content).get("config", {}).get("Labels") or {})


def manifests(wanted: Iterable[names.Digest]) -> dict[names.Digest, Manifest]:
    """Return many manifests, reading eight at a time. Raises RegistryRefused."""
    listed = list(wanted)
    if not listed:
        return {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(listed, pool.map(manifest, listed), strict=True))


def push(tag: names.Tag, files: Sequence[Mapping[str, str]], *, architecture: str = "amd64") -> names.Digest:
    """Push an image with one layer for each mapping of files (path → text), without a build, and return its digest.

    The same files give the same layer, which is not sent if the registry has it. Raises RegistryRefused.
    """
    layers = [_layer(content) for content in files]
    plain = [f"sha256:{hashlib.sha256(gzip.decompress(one)).hexdigest()}" for one in layers]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": plain},
        "history": [{"created_by": f"COPY {' '.join(content)}"} for content in files],
    }
    kind = "application/vnd.oci.image.config.v1+json"
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": push_blob(tag.image, json.dumps(config).encode(), kind),
        "layers": [push_blob(tag.image, one, "application/vnd.oci.image.layer.v1.tar+gzip") for one in layers],
    }
    return put_manifest(tag.image, tag.name, body, MANIFEST)


def revise(source: names.Tag, tag: names.Tag, environment: Mapping[str, str]) -> names.Digest:
    """Push a version that differs from `source` only in environment variables, and return its digest.

    The result is that of a Dockerfile with `FROM source` and `ENV` lines: all layers are shared. If `source` is an
    index, the new version is of its image for linux/amd64. Both tags must belong to one image. Raises RegistryRefused.
    """
    digest = image_manifest(source).digest
    answer = _call("GET", source.image, f"manifests/{digest}", headers={"Accept": _ACCEPT})
    body = answer.json()
    config = _call("GET", source.image, f"blobs/{body['config']['digest']}").json()
    settings = dict(line.partition("=")[::2] for line in config.setdefault("config", {}).get("Env") or [])
    config["config"]["Env"] = [f"{name}={value}" for name, value in {**settings, **environment}.items()]
    added = " ".join(f"{name}={value}" for name, value in environment.items())
    config.setdefault("history", []).append({"created_by": f"ENV {added}", "empty_layer": True})
    body["config"] = push_blob(tag.image, json.dumps(config).encode(), body["config"]["mediaType"])
    return put_manifest(tag.image, tag.name, body, answer.headers["Content-Type"])


def push_index(tag: names.Tag, images: Mapping[str, names.Digest]) -> names.Digest:
    """Push an index with one image for each platform (`linux/amd64` → digest) and return its digest.

    The images must be in the registry, under the same name as the tag. Raises RegistryRefused.
    """
    entries = []
    for platform, digest in images.items():
        system, _, architecture = platform.partition("/")
        found = manifest(digest)
        entry = _entry(found.media_type, found.digest, found.size)
        entries.append({**entry, "platform": {"os": system, "architecture": architecture}})
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    return put_manifest(tag.image, tag.name, body, INDEX)


def attest(tag: names.Tag) -> names.Digest:
    """Add an attestation to an image in the registry, as a build with a current Docker does, and return its new digest.

    The tag then points to an index of both. A tag that already points to an index keeps it. The form and the two
    annotations are BuildKit's: https://docs.docker.com/build/metadata/attestations/attestation-storage/. The statement
    has only the image as its subject, since nothing was built. Raises RegistryRefused.
    """
    found = manifest(tag)
    if found.children:
        return tag.image.digest(found.digest)
    predicate = "https://slsa.dev/provenance/v0.2"
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": predicate,
        "subject": [{"name": str(tag), "digest": {"sha256": found.digest.removeprefix("sha256:")}}],
        "predicate": {"builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1"},
    }
    layer = push_blob(tag.image, json.dumps(statement).encode(), "application/vnd.in-toto+json")
    layer["annotations"] = {"in-toto.io/predicate-type": predicate}
    config = {
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": push_blob(tag.image, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [layer],
    }
    content = json.dumps(body).encode()
    attestation = f"sha256:{hashlib.sha256(content).hexdigest()}"
    put_manifest(tag.image, attestation, body)
    entries = [
        {**_entry(found.media_type, found.digest, found.size), "platform": {"architecture": "amd64", "os": "linux"}},
        {
            **_entry(MANIFEST, attestation, len(content)),
            "annotations": {
                "vnd.docker.reference.digest": found.digest,
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        },
    ]
    return put_manifest(tag.image, tag.name, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)


def get(image: names.Image, path: str, *, credentials: Any = None) -> bytes:
    """Return a manifest or a blob as it is stored, read with the default or the given credentials.

    Raises RegistryRefused.
    """
    opened = AuthorizedSession(credentials) if credentials else clients.session()  # type: ignore[no-untyped-call]
    answer = opened.get(_url(image, path), headers={"Accept": _ACCEPT}, timeout=_SECONDS)
    _require(answer)
    return bytes(answer.content)


def layers_unpacked(name: names.Digest) -> tuple[int, int]:
    """Fetch, check and decompress every layer of an image, as a pull on a new machine does, and keep nothing.

    Return the bytes received and the bytes after decompression. A layer that isn't gzip is only checked.
    Raises RegistryRefused, also for a layer with another digest.
    """
    came = became = 0
    for digest in image_manifest(name).layers:
        answer = _call("GET", name.image, f"blobs/{digest}", stream=True)
        hashed, unpacking = hashlib.sha256(), zlib.decompressobj(wbits=31)
        packed = False
        for place, chunk in enumerate(answer.iter_content(1 << 20)):
            packed = packed if place else chunk.startswith(b"\x1f\x8b")
            hashed.update(chunk)
            came += len(chunk)
            became += len(unpacking.decompress(chunk)) if packed else len(chunk)
        if f"sha256:{hashed.hexdigest()}" != digest:
            raise RegistryRefused(f"another layer than {digest} came", answer.status_code)
    return came, became


def _entry(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _parsed(content: bytes, media_type: str) -> Manifest:
    body: dict[str, Any] = json.loads(content)
    layers = body.get("layers", [])
    listed = [*layers, *([body["config"]] if "config" in body else [])]
    children = body.get("manifests", [])
    return Manifest(
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        media_type=media_type,
        size=len(content),
        blobs={entry["digest"]: int(entry["size"]) for entry in listed},
        layers={entry["digest"]: int(entry["size"]) for entry in layers},
        children=tuple(entry["digest"] for entry in children),
        platforms={entry["digest"]: _platform(entry.get("platform", {})) for entry in children},
        subject=(body.get("subject") or {}).get("digest", ""),
    )


def _platform(entry: Mapping[str, str]) -> str:
    return "/".join(part for part in (entry.get("os"), entry.get("architecture"), entry.get("variant")) if part)


def _layer(files: Mapping[str, str]) -> bytes:
    """Return a compressed tar archive whose bytes depend only on the files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


def push_blob(image: names.Image, content: bytes, media_type: str) -> dict[str, Any]:
    """Push a blob unless the registry has it, and return its descriptor. Raises RegistryRefused."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if clients.session().head(_url(image, f"blobs/{digest}"), timeout=_SECONDS).status_code != 200:
        # Artifact Registry takes an upload in one piece: begin it, then put the content at the address it returns.
        begun = _call("POST", image, "blobs/uploads/")
        where = requests.compat.urljoin(begun.url, begun.headers["Location"])
        sign = "&" if "?" in where else "?"
        answer = clients.session().put(
            f"{where}{sign}digest={digest}",
            data=content,
            headers={"Content-Type": "application/octet-stream"},
            timeout=_SECONDS,
        )
        _require(answer)
    return _entry(media_type, digest, len(content))


def put_manifest(
    image: names.Image, reference: str, body: Mapping[str, Any], media_type: str = MANIFEST
) -> names.Digest:
    """Store a manifest under a tag or its digest, and return its digest. Raises RegistryRefused."""
    content = json.dumps(body).encode()
    _call("PUT", image, f"manifests/{reference}", data=content, headers={"Content-Type": media_type})
    return image.digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def _url(image: names.Image, path: str) -> str:
    repository = image.repository
    return f"https://{repository.location.host}/v2/{repository.project}/{repository.id}/{image.path}/{path}"


def _call(method: str, image: names.Image, path: str, **options: Any) -> requests.Response:
    url = _url(image, path)
    answer: requests.Response = clients.session().request(method, url, timeout=_SECONDS, **options)  # type: ignore[no-untyped-call]
    _require(answer)
    return answer


def _require(answer: requests.Response) -> None:
    if answer.status_code >= 400:
        try:
            errors = answer.json()["errors"]
            reason = "; ".join(f"{one['code']}: {one['message']}" for one in errors)
        except (ValueError, KeyError, TypeError):
            reason = answer.text[:300]
        raise RegistryRefused(f"{answer.status_code} {reason}", answer.status_code)
