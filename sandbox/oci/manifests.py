"""HTTP methods on manifests: push, pull and delete."""

from __future__ import annotations

import contextlib
import json
import sqlite3

from starlette.responses import Response

from sandbox.artifact_registry import blobs, catalog, integrity
from sandbox.artifact_registry.catalog import Repository, Version
from sandbox.errors import RegistryError
from sandbox.oci import manifest_rules, referrers, remotes, rights
from sandbox.oci.address import RegistryCall
from sandbox.oci.manifest_rules import Manifest, is_digest
from sandbox.oci.rights import DELETE_ARTIFACTS, DELETE_TAG, DELETE_VERSION, UPLOAD, enter, require
from sandbox.oci.token import Caller
from sandbox.state.world import World

_CONFIG_LIMIT = 4 << 20  # bytes; a larger config is not read for its build time


def unknown(reference: str) -> RegistryError:
    """Return the 404, whose message users report: https://github.com/firezone/firezone/issues/10484."""
    return RegistryError("MANIFEST_UNKNOWN", f'Failed to fetch "{reference[:200]}"')


def resolve(rows: sqlite3.Connection, repository: str, package: str, reference: str) -> str | None:
    """Return the digest of the version with a tag or digest, or None."""
    if not is_digest(reference):
        return catalog.find_tag(rows, repository, package, manifest_rules.check_tag(reference))
    version = catalog.find_version(rows, repository, package, blobs.check_digest(reference))
    return version.digest if version else None


def accepts(header: str, media_type: str) -> bool:
    """Return whether an Accept header includes a media type; an empty one includes all (RFC 9110 section 12.5.1)."""
    wanted = [entry.split(";", 1)[0].strip() for entry in header.split(",")]
    return not header.strip() or any(entry in (media_type, "*/*", "application/*") for entry in wanted)


def read(call: RegistryCall, caller: Caller) -> Response:
    """Handle GET and HEAD /v2/<name>/manifests/<reference>. Spec: "Pulling manifests"."""
    repository = remotes.reading(call, caller)
    with call.world.reading() as rows:
        digest = resolve(rows, repository.name, call.image.package, call.reference)
        version = catalog.find_version(rows, repository.name, call.image.package, digest) if digest else None
    if version is None:
        raise unknown(call.reference)
    # docker sends one header per media type.
    accept = ",".join(call.headers.getlist("accept"))
    if not accepts(accept, version.media_type):
        # The fixtures of two programs quote the media types in this way.
        listed = ", ".join(f'"{entry.strip()}"' for entry in accept.split(","))
        raise RegistryError(
            "MANIFEST_UNKNOWN", f'Manifest has media type "{version.media_type}" but client accepts [{listed}]'
        )
    headers = {"Docker-Content-Digest": version.digest, "ETag": f'"{version.digest}"'}
    if headers["ETag"] in [entry.strip() for entry in call.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = version.media_type
    try:
        content = blobs.read(call.world, version.digest)
    except FileNotFoundError:
        # Damaged, or collected since the row was read.
        raise unknown(call.reference) from None
    return Response(content, headers=headers)


def put(call: RegistryCall, caller: Caller) -> Response:
    """Handle PUT /v2/<name>/manifests/<reference>. Spec: "Pushing manifests", "Pushing manifests with subject".

    Responds after the bytes are synced and the rows are committed.
    """
    repository = enter(call.world, caller.principal, call.image, UPLOAD)
    digest, tags = _named(call)
    manifest = manifest_rules.parse(call.content, call.headers.get("content-type", ""))
    blobs.store(call.world, call.content, digest)
    with call.world.writing() as rows:
        _check_tags(rows, call, caller, repository, digest, tags)
        size = _check_references(rows, call.world, repository.name, call.image.package, manifest)
        blobs.record(rows, call.world, repository.name, digest, len(call.content))
        version = Version(
            repository=repository.name,
            package=call.image.package,
            digest=digest,
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            subject=manifest.subject,
            size=size,
            manifest_size=len(call.content),
            annotations=manifest.annotations,
            build_time=_build_time(call, manifest),
            create_time="",
            update_time="",
        )
        package = call.image.package
        other = [
            entry for entry in manifest.children if not catalog.find_version(rows, repository.name, package, entry)
        ]
        catalog.put_version(
            rows,
            call.world,
            version,
            blobs=[*manifest.blobs, *other],
            children=[entry for entry in manifest.children if entry not in other],
        )
        for tag in tags:
            try:
                catalog.set_tag(rows, call.world, repository, call.image.package, tag, digest)
            except catalog.TagImmutable:
                raise RegistryError(
                    "MANIFEST_INVALID", f"cannot update tag {tag}. The repository has enabled tag immutability"
                ) from None
    headers = {"Location": call.location(f"manifests/{digest}"), "Docker-Content-Digest": digest}
    if manifest.subject:
        referrers.publish(call.world, repository, call.image.package, manifest.subject)
        headers["OCI-Subject"] = manifest.subject
    if is_digest(call.reference) and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return Response(status_code=201, headers=headers)


def _named(call: RegistryCall) -> tuple[str, list[str]]:
    """Return the digest of the body, and the new tags."""
    tags = [manifest_rules.check_tag(tag) for tag in call.query.getlist("tag")]
    if is_digest(call.reference):
        promised = blobs.check_digest(call.reference)
    else:
        tags = [manifest_rules.check_tag(call.reference), *tags]
        promised = blobs.check_digest(call.query["digest"]) if "digest" in call.query else ""
    digest = blobs.digest_of(call.content, (promised or "sha256:").split(":", 1)[0])
    if promised and promised != digest:
        raise RegistryError("DIGEST_INVALID", f"The manifest's digest is {digest}, not {promised}")
    return digest, list(dict.fromkeys(tags))


def _check_tags(
    rows: sqlite3.Connection, call: RegistryCall, caller: Caller, repository: Repository, digest: str, tags: list[str]
) -> None:
    # Checked in the transaction that sets the tags, so that two pushes of one tag cannot both find it missing.
    for tag in tags:
        current = catalog.find_tag(rows, repository.name, call.image.package, tag)
        if current is None:
            require(call.world, caller.principal, rights.CREATE_TAG, call.image)
        elif current != digest:
            require(call.world, caller.principal, rights.UPDATE_TAG, call.image)


def _check_references(rows: sqlite3.Connection, world: World, repository: str, package: str, manifest: Manifest) -> int:
    """Return the size of the stored config and layers, or raise if the manifest refers to a missing blob."""
    size = 0
    for digest, declared in manifest.blobs.items():
        blob = blobs.find(rows, repository, digest)
        if blob is None or not integrity.has_size(world, digest, blob.size):
            raise _missing(digest)
        if blob.size != declared:
            # unverified: that Google checks the size
            raise RegistryError("MANIFEST_INVALID", f"The manifest gives {digest} {declared} bytes; it has {blob.size}")
        size += blob.size
    for digest in manifest.children:
        # An index may also list a blob that is not a manifest.
        if not (catalog.find_version(rows, repository, package, digest) or blobs.find(rows, repository, digest)):
            raise _missing(digest)
    return size


def _missing(digest: str) -> RegistryError:
    message = f"The manifest refers to {digest}, which is not here: push it first"
    return RegistryError("MANIFEST_BLOB_UNKNOWN", message, detail={"digest": digest})


def _build_time(call: RegistryCall, manifest: Manifest) -> str:
    """Return `created` of the image's config in the API's format, or an empty string."""
    if not manifest.config or manifest.blobs[manifest.config] > _CONFIG_LIMIT:
        return ""
    with contextlib.suppress(ValueError, AttributeError, OverflowError, RecursionError, FileNotFoundError):
        return manifest_rules.moment(json.loads(blobs.read(call.world, manifest.config)).get("created"))
    return ""


def remove(call: RegistryCall, caller: Caller) -> Response:
    """Handle DELETE /v2/<name>/manifests/<reference>. Spec: "Deleting tags", "Deleting manifests".

    A tag deletes only the tag; a digest deletes the version, unless tags, an index or a referrer refer to it.
    """
    if not is_digest(call.reference):
        return _remove_tag(call, caller)
    repository = enter(call.world, caller.principal, call.image, DELETE_VERSION, DELETE_ARTIFACTS)
    try:
        with call.world.writing() as rows:
            digest = blobs.check_digest(call.reference)
            if referrers.exist(rows, repository.name, call.image.package, digest):
                # Two programs of July 2026, run on Google, quote the code. unverified: the message
                raise RegistryError(
                    "GOOGLE_MANIFEST_REFERRING_MANIFEST", "Manifest is still referenced by one or more referrers"
                )
            removed = catalog.remove_version(rows, repository, call.image.package, digest, force=False)
    except (catalog.VersionTagged, catalog.TagImmutable):
        raise RegistryError(
            "GOOGLE_MANIFEST_DANGLING_TAG", "Manifest is still referenced by one or more tags"
        ) from None
    except catalog.VersionHasParents as parent:
        # One program reads the parent's digest from the message's last word. unverified: the rest of the message
        raise RegistryError(
            "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE",
            f"Manifest is still referenced by one or more parent images: {parent}",
        ) from None
    if not removed:
        raise unknown(call.reference)
    return Response(status_code=202)


def _remove_tag(call: RegistryCall, caller: Caller) -> Response:
    repository = enter(call.world, caller.principal, call.image, DELETE_TAG)
    tag = manifest_rules.check_tag(call.reference)
    try:
        with call.world.writing() as rows:
            removed = catalog.remove_tag(rows, repository, call.image.package, tag)
    except catalog.TagImmutable:
        # unverified: text
        raise RegistryError(
            "MANIFEST_INVALID", f"cannot delete tag {tag}. The repository has enabled tag immutability"
        ) from None
    if not removed:
        raise unknown(tag)
    return Response(status_code=202)
