"""Parse and check manifests. Pure functions.

OCI image-spec 1.1 manifest.md and image-index.md; Docker Image Manifest Version 2, Schema 2.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.api import strict_json
from sandbox.artifact_registry.blobs import check_digest
from sandbox.artifact_registry.media_types import CONFIGS, IMAGES, INDEXES
from sandbox.errors import RegistryError
from sandbox.state.clock import timestamp

LIMIT = 4 << 20  # bytes; OCI Distribution 1.1, "Pushing manifests": at least 4 MiB. unverified: Google's

# Layers that are never pushed, since clients download them from their urls: image-spec 1.1 layer.md
# "Non-Distributable Layers".
_FOREIGN = re.compile(
    r"application/vnd\.oci\.image\.layer\.nondistributable\..+"
    r"|application/vnd\.docker\.image\.rootfs\.foreign\.diff\.tar(\.gzip)?"
)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True)
class Manifest:
    """The parts of a manifest that the registry needs.

    Attributes:
        artifact_type: its own, or with a subject by default the config's media type.
        subject: digest, or empty.
        config: digest of an image's config, or empty.
        blobs: config and layers that the registry must have: digest to size in bytes.
        children: digests of an index's manifests.
    """

    media_type: str
    artifact_type: str
    subject: str
    config: str
    annotations: Mapping[str, str]
    blobs: Mapping[str, int]
    children: tuple[str, ...]


def is_digest(reference: str) -> bool:
    """Return whether a reference is a digest and not a tag, which has no colon."""
    return ":" in reference


def check_tag(tag: str) -> str:
    """Return the tag, or raise TAG_INVALID. Spec: "Pulling manifests", <reference> as a tag."""
    if not _TAG.fullmatch(tag):
        raise RegistryError("TAG_INVALID", f"Invalid tag {tag[:200]!r}: up to 128 letters, digits, _ . and -")
    return tag


def _invalid(message: str) -> RegistryError:
    return RegistryError("MANIFEST_INVALID", message)


def _body(content: bytes) -> dict[str, Any]:
    try:
        body = strict_json.loads(content)
    except ValueError as error:
        raise _invalid(f"The manifest is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise _invalid("The manifest is not a JSON object")
    return body


def _media_type(body: Mapping[str, Any], header: str) -> str:
    sent = header.split(";", 1)[0].strip()
    own = body.get("mediaType", "")
    if not isinstance(own, str) or (own and sent and own != sent):
        raise _invalid(f"The manifest's mediaType {own!r} is not the Content-Type {sent!r}")
    kind = own or sent
    if body.get("schemaVersion") == 1 or kind.startswith("application/vnd.docker.distribution.manifest.v1+"):
        # unverified: text
        raise _invalid("Docker image manifest schema 1 is not supported: push with a newer client")
    if kind not in IMAGES + INDEXES:
        raise _invalid(f"Unsupported manifest media type {kind[:200]!r}")
    if body.get("schemaVersion") != 2:
        raise _invalid("The manifest's schemaVersion is not 2")
    return kind


def _descriptor(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
        raise _invalid(f"{where} is not a descriptor with a digest")
    check_digest(value["digest"])
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _invalid(f"{where} has no valid size")
    kind = value.get("mediaType", "")
    if not isinstance(kind, str) or not kind.isascii():
        raise _invalid(f"{where} has no valid mediaType")
    return value


def _list(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = body.get(name)
    if not isinstance(value, list):
        raise _invalid(f"The manifest has no list of {name}")
    return [_descriptor(entry, f"{name}[{place}]") for place, entry in enumerate(value)]


def parse(content: bytes, content_type: str) -> Manifest:
    """Parse a manifest, ignoring unknown fields.

    Args:
        content_type: the request's header, may be empty.

    Raises:
        RegistryError: MANIFEST_INVALID, or DIGEST_INVALID for a malformed digest in it.
    """
    body = _body(content)
    kind = _media_type(body, content_type)
    artifact_type = body.get("artifactType", "")
    annotations = body.get("annotations") or {}
    if not isinstance(artifact_type, str) or not artifact_type.isascii():
        raise _invalid("The manifest's artifactType is not a media type")
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise _invalid("The manifest's annotations are not a map of strings")
    subject = _descriptor(body["subject"], "subject")["digest"] if body.get("subject") is not None else ""
    if kind in INDEXES:
        if "layers" in body or "config" in body:
            raise _invalid("An index has no config and no layers")
        children = tuple(dict.fromkeys(entry["digest"] for entry in _list(body, "manifests")))
        return Manifest(kind, artifact_type, subject, "", annotations, {}, children)
    if "manifests" in body:
        raise _invalid("An image manifest has no list of manifests")
    config = _descriptor(body.get("config"), "config")
    layers = [layer for layer in _list(body, "layers") if not _FOREIGN.fullmatch(layer.get("mediaType", ""))]
    needed = {entry["digest"]: entry["size"] for entry in [*layers, config]}
    if subject and not artifact_type:
        artifact_type = config.get("mediaType", "")
    image_config = config["digest"] if config.get("mediaType") in CONFIGS else ""
    return Manifest(kind, artifact_type, subject, image_config, annotations, needed, ())


def moment(text: Any) -> str:
    """Return an RFC 3339 time in the API's format; empty if it is missing or in the year 1.

    Raises:
        ValueError: if the text is not a time.
    """
    if not isinstance(text, str) or text.startswith("0001-"):
        return ""
    moment = dt.datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC))
