"""Take a publication of npm: a JSON document with a version's manifest and its tarball in base64."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.api import strict_json
from sandbox.artifact_registry import blobs, catalog, package_files
from sandbox.artifact_registry.catalog import Repository
from sandbox.npm_repositories import names, sources
from sandbox.package_hosts import bodies
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.state.world import World

LIMIT = 256 << 20  # bytes of the document, which is held in memory; unverified: Google's limit
_MANIFEST = 1 << 20  # bytes of a package.json


@dataclass(frozen=True)
class Publication:
    """The version that one document publishes.

    Attributes:
        manifest: without the fields that the index adds.
        tags: dist-tag to version.
    """

    package: str
    version: str
    manifest: Mapping[str, Any]
    tarball: bytes
    tags: Mapping[str, str]


def store(world: World, repository: Repository, package: str, body: Path) -> None:
    """Take a version out of a document and keep it. Blocking; call it from a thread, in no transaction.

    Raises:
        PackageRefusal: 400 for an invalid document, 409 for a version that exists already (unverified: the code).
    """
    new = _read(package, body.read_bytes())
    sha256 = hashlib.sha256(new.tarball).hexdigest()
    about = {
        "manifest": dict(new.manifest),
        "shasum": hashlib.sha1(new.tarball, usedforsecurity=False).hexdigest(),
        "integrity": _sha512(new.tarball),
    }
    name = names.tarball(package, new.version)
    file = package_files.PackageFile(
        repository.name, name, package, new.version, f"sha256:{sha256}", len(new.tarball), about
    )
    exists = PackageRefusal(409, f"Version {new.version} of {package} exists already: a version never changes.")
    with world.reading() as rows:
        if package_files.find(rows, repository.name, name) is not None:
            raise exists
    with bodies.scratch(world) as part:
        part.write_bytes(new.tarball)
        blobs.place(world, part, file.blob)
    with world.writing() as rows:
        if catalog.find_repository(rows, repository.name) is None:
            raise PackageRefusal(404, f'Repository "{repository.id}" was not found.')
        try:
            package_files.add(rows, world, file)
        except package_files.FileExists:
            raise exists from None
        for tag, version in new.tags.items():
            catalog.set_tag(rows, world, repository, package, tag, version)


def _sha512(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def _wrong(reason: str) -> PackageRefusal:
    return PackageRefusal(400, f"{reason}.")  # unverified: Google's texts


def _read(package: str, content: bytes) -> Publication:
    try:
        body = strict_json.loads(content)
    except ValueError as error:
        raise _wrong(f"The document is no JSON: {error}") from None
    if not isinstance(body, dict) or body.get("name") != package:
        raise _wrong(f"The document's name is not {package}")
    versions, attachments, tags = (body.get(key) or {} for key in ("versions", "_attachments", "dist-tags"))
    if not all(isinstance(one, dict) for one in (versions, attachments, tags)):
        raise _wrong("versions, _attachments and dist-tags are objects")
    if not attachments:
        raise _wrong("The workbook's sandbox changes no published version: no deprecation, no unpublishing")
    if len(versions) != 1 or len(attachments) != 1:
        raise _wrong("A document publishes one version with one tarball")
    (version, manifest), attachment = next(iter(versions.items())), next(iter(attachments.values()))
    if not names.is_version(version):
        raise _wrong(f"{version[:80]!r} is no version: it is three numbers, such as 1.0.0")
    if not isinstance(manifest, dict) or manifest.get("name") != package or manifest.get("version") != version:
        raise _wrong(f"The manifest is not that of {package} {version}")
    for tag, aim in tags.items():
        if not names.is_tag(tag) or aim != version:
            raise _wrong(f"{tag[:80]!r} is no dist-tag of this version")
    tarball = _tarball(attachment, manifest)
    _check_inside(tarball, package, version)
    return Publication(package, version, sources.kept(manifest), tarball, tags)


def _tarball(attachment: Any, manifest: Mapping[str, Any]) -> bytes:
    try:
        content = base64.b64decode(attachment["data"], validate=True)
    except (TypeError, KeyError, ValueError, binascii.Error):
        raise _wrong("The tarball is not in base64") from None
    dist = manifest.get("dist")
    dist = dist if isinstance(dist, dict) else {}
    integrity, shasum = str(dist.get("integrity", "")), str(dist.get("shasum", ""))
    if integrity.startswith("sha512-") and integrity != _sha512(content):
        raise _wrong("The tarball's sha512 is another one than the manifest says")
    if shasum and shasum != hashlib.sha1(content, usedforsecurity=False).hexdigest():
        raise _wrong("The tarball's sha1 is another one than the manifest says")
    return content


def _check_inside(content: bytes, package: str, version: str) -> None:
    """Check that the content is a tarball, and that its package.json agrees with the manifest."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for entry in archive:
                if entry.name.count("/") == 1 and entry.name.endswith("/package.json") and entry.size <= _MANIFEST:
                    opened = archive.extractfile(entry)
                    inside = json.loads(opened.read()) if opened else {}
                    if (inside.get("name"), inside.get("version")) != (package, version):
                        raise _wrong(f"The package.json in the tarball is not that of {package} {version}")
                    return
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, AttributeError):
        raise _wrong("The tarball is no sound archive") from None
    raise _wrong("The tarball has no package.json")
