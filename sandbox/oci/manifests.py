"""Manifests over HTTP: put under a digest or a tag, read, removed."""

from __future__ import annotations

import contextlib
import json
import sqlite3

from starlette.responses import Response

from sandbox.artifact_registry import blobs, catalog, integrity
from sandbox.artifact_registry.catalog import Repository, Version
from sandbox.errors import RegistryError
from sandbox.oci import manifest_rules, referrers, remotes, rights
from sandbox.oci.address import Ask
from sandbox.oci.manifest_rules import Manifest, is_digest
from sandbox.oci.rights import DELETE_ARTIFACTS, DELETE_TAG, DELETE_VERSION, UPLOAD, enter, require
from sandbox.oci.token import Caller
from sandbox.state.world import World

_CONFIG_LIMIT = 4 << 20  # bytes of a config that is read for its build time


def unknown(reference: str) -> RegistryError:
    """Return the 404; users of Artifact Registry saw its text, https://github.com/firezone/firezone/issues/10484."""
    return RegistryError("MANIFEST_UNKNOWN", f'Failed to fetch "{reference[:200]}"')


def resolve(rows: sqlite3.Connection, repository: str, package: str, reference: str) -> str | None:
    """Return the digest of a version by tag or digest; None when it is not there."""
    if not is_digest(reference):
        return catalog.find_tag(rows, repository, package, manifest_rules.check_tag(reference))
    version = catalog.find_version(rows, repository, package, blobs.check_digest(reference))
    return version.digest if version else None


def accepts(header: str, media_type: str) -> bool:
    """Whether an Accept header covers a media type; none at all covers everything (RFC 9110 section 12.5.1)."""
    wanted = [entry.split(";", 1)[0].strip() for entry in header.split(",")]
    return not header.strip() or any(entry in (media_type, "*/*", "application/*") for entry in wanted)


def read(ask: Ask, caller: Caller) -> Response:
    """GET and HEAD /v2/<name>/manifests/<reference>. Spec: "Pulling manifests"."""
    repository = remotes.reading(ask, caller)
    with ask.world.reading() as rows:
        digest = resolve(rows, repository.name, ask.image.package, ask.reference)
        version = catalog.find_version(rows, repository.name, ask.image.package, digest) if digest else None
    if version is None:
        raise unknown(ask.reference)
    # docker sends one header per media type.
    accept = ",".join(ask.headers.getlist("accept"))
    if not accepts(accept, version.media_type):
        # The sentence with quoted media types, as fixtures of two programs have it.
        listed = ", ".join(f'"{entry.strip()}"' for entry in accept.split(","))
        raise RegistryError(
            "MANIFEST_UNKNOWN", f'Manifest has media type "{version.media_type}" but client accepts [{listed}]'
        )
    headers = {"Docker-Content-Digest": version.digest, "ETag": f'"{version.digest}"'}
    if headers["ETag"] in [entry.strip() for entry in ask.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    # The header is set as it was pushed: a media type here has no charset.
    headers["Content-Type"] = version.media_type
    try:
        content = blobs.read(ask.world, version.digest)
    except FileNotFoundError:
        # Deleted and collected since the row was read, or damaged.
        raise unknown(ask.reference) from None
    return Response(content, headers=headers)


def put(ask: Ask, caller: Caller) -> Response:
    """PUT /v2/<name>/manifests/<reference>. Spec: "Pushing manifests", "Pushing manifests with subject".

    Acknowledged when the bytes are synced and the rows committed.
    """
    repository = enter(ask.world, caller.principal, ask.image, UPLOAD)
    digest, tags = _named(ask)
    manifest = manifest_rules.parse(ask.content, ask.headers.get("content-type", ""))
    blobs.store(ask.world, ask.content, digest)
    with ask.world.writing() as rows:
        _check_tags(rows, ask, caller, repository, digest, tags)
        size = _check_references(rows, ask.world, repository.name, ask.image.package, manifest)
        blobs.record(rows, ask.world, repository.name, digest, len(ask.content))
        version = Version(
            repository=repository.name,
            package=ask.image.package,
            digest=digest,
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            subject=manifest.subject,
            size=size,
            manifest_size=len(ask.content),
            annotations=manifest.annotations,
            build_time=_build_time(ask, manifest),
            create_time="",
            update_time="",
        )
        package = ask.image.package
        held = [entry for entry in manifest.children if not catalog.find_version(rows, repository.name, package, entry)]
        catalog.put_version(
            rows,
            ask.world,
            version,
            blobs=[*manifest.blobs, *held],
            children=[entry for entry in manifest.children if entry not in held],
        )
        for tag in tags:
            try:
                catalog.set_tag(rows, ask.world, repository, ask.image.package, tag, digest)
            except catalog.TagImmutable:
                raise RegistryError(
                    "MANIFEST_INVALID", f"cannot update tag {tag}. The repository has enabled tag immutability"
                ) from None
    headers = {"Location": ask.location(f"manifests/{digest}"), "Docker-Content-Digest": digest}
    if manifest.subject:
        referrers.publish(ask.world, repository, ask.image.package, manifest.subject)
        headers["OCI-Subject"] = manifest.subject
    if is_digest(ask.reference) and tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return Response(status_code=201, headers=headers)


def _named(ask: Ask) -> tuple[str, list[str]]:
    """Return the digest of the body, and the tags that it is to get."""
    tags = [manifest_rules.check_tag(tag) for tag in ask.query.getlist("tag")]
    if is_digest(ask.reference):
        promised = blobs.check_digest(ask.reference)
    else:
        tags = [manifest_rules.check_tag(ask.reference), *tags]
        promised = blobs.check_digest(ask.query["digest"]) if "digest" in ask.query else ""
    digest = blobs.digest_of(ask.content, (promised or "sha256:").split(":", 1)[0])
    if promised and promised != digest:
        raise RegistryError("DIGEST_INVALID", f"The manifest's digest is {digest}, not {promised}")
    return digest, list(dict.fromkeys(tags))


def _check_tags(
    rows: sqlite3.Connection, ask: Ask, caller: Caller, repository: Repository, digest: str, tags: list[str]
) -> None:
    # Tags are looked at in the transaction that sets them: two pushes of one tag cannot both see it as new.
    for tag in tags:
        current = catalog.find_tag(rows, repository.name, ask.image.package, tag)
        if current is None:
            require(ask.world, caller.principal, rights.CREATE_TAG, ask.image)
        elif current != digest:
            require(ask.world, caller.principal, rights.UPDATE_TAG, ask.image)


def _check_references(rows: sqlite3.Connection, world: World, repository: str, package: str, manifest: Manifest) -> int:
    """Refuse a manifest that names what is not here. Returns the bytes of config and layers as stored."""
    size = 0
    for digest, said in manifest.blobs.items():
        blob = blobs.find(rows, repository, digest)
        if blob is None or not integrity.has_size(world, digest, blob.size):
            raise _missing(digest)
        if blob.size != said:
            # unverified: that Google looks at it
            raise RegistryError("MANIFEST_INVALID", f"The manifest gives {digest} {said} bytes; it has {blob.size}")
        size += blob.size
    for digest in manifest.children:
        # An index may also list what is no manifest; that must be here as a blob.
        if not (catalog.find_version(rows, repository, package, digest) or blobs.find(rows, repository, digest)):
            raise _missing(digest)
    return size


def _missing(digest: str) -> RegistryError:
    message = f"The manifest refers to {digest}, which is not here: push it first"
    return RegistryError("MANIFEST_BLOB_UNKNOWN", message, detail={"digest": digest})


def _build_time(ask: Ask, manifest: Manifest) -> str:
    """Return `created` of the image's config, as the API gives it; empty where there is none."""
    if not manifest.config or manifest.blobs[manifest.config] > _CONFIG_LIMIT:
        return ""
    with contextlib.suppress(ValueError, AttributeError, OverflowError, RecursionError, FileNotFoundError):
        return manifest_rules.moment(json.loads(blobs.read(ask.world, manifest.config)).get("created"))
    return ""


def remove(ask: Ask, caller: Caller) -> Response:
    """DELETE /v2/<name>/manifests/<reference>. Spec: "Deleting tags", "Deleting manifests".

    By tag only the tag goes; by digest the version, unless tags or an index hold it.
    """
    if not is_digest(ask.reference):
        return _remove_tag(ask, caller)
    repository = enter(ask.world, caller.principal, ask.image, DELETE_VERSION, DELETE_ARTIFACTS)
    try:
        with ask.world.writing() as rows:
            digest = blobs.check_digest(ask.reference)
            if referrers.exist(rows, repository.name, ask.image.package, digest):
                # Two programs of July 2026 quote the code, run on Google. unverified: the sentence
                raise RegistryError(
                    "GOOGLE_MANIFEST_REFERRING_MANIFEST", "Manifest is still referenced by one or more referrers"
                )
            removed = catalog.remove_version(rows, repository, ask.image.package, digest, force=False)
    except (catalog.VersionTagged, catalog.TagImmutable):
        raise RegistryError(
            "GOOGLE_MANIFEST_DANGLING_TAG", "Manifest is still referenced by one or more tags"
        ) from None
    except catalog.VersionHasParents as parent:
        # One program reads the parent's digest off the sentence's last word. unverified: what comes before it
        raise RegistryError(
            "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE",
            f"Manifest is still referenced by one or more parent images: {parent}",
        ) from None
    if not removed:
        raise unknown(ask.reference)
    return Response(status_code=202)


def _remove_tag(ask: Ask, caller: Caller) -> Response:
    repository = enter(ask.world, caller.principal, ask.image, DELETE_TAG)
    tag = manifest_rules.check_tag(ask.reference)
    try:
        with ask.world.writing() as rows:
            removed = catalog.remove_tag(rows, repository, ask.image.package, tag)
    except catalog.TagImmutable:
        # unverified: text
        raise RegistryError(
            "MANIFEST_INVALID", f"cannot delete tag {tag}. The repository has enabled tag immutability"
        ) from None
    if not removed:
        raise unknown(tag)
    return Response(status_code=202)
