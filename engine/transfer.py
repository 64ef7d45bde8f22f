"""Push and pull images, and report progress as Docker does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

from engine.archives import unpacked_digest
from engine.errors import Refused, not_found
from engine.names import Reference
from engine.registry import MANIFEST, MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, Denied, Registry
from engine.store import BAD_ARCHIVE, Layer, Store, measured

Say = Callable[[dict[str, Any]], None]
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_ACCEPT = f"{MANIFEST}, {MANIFEST_LIST}, {OCI_INDEX}, {OCI_MANIFEST}"
_CONFIG_BYTES = 16 * 1024**2
_GZIP = ("gzip", "tar")


def manifest(store: Store, key: str) -> bytes:
    """Return the manifest of an image, as dockerd writes it."""
    image = store.images[key]
    layers = [{"mediaType": LAYER, "size": layer.size, "digest": layer.digest} for layer in image.layers]
    config = {"mediaType": CONFIG, "size": store.blob(key).stat().st_size, "digest": key}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    return json.dumps(document, indent=3).encode()


def push(store: Store, reference: Reference, auth: dict[str, str], say: Say) -> None:
    """Push a tag. Raises Refused, with the registry's own message if it refuses."""
    key, name = store.tags.get(reference.tagged), reference.path
    say({"status": f"The push refers to repository [{reference.host}/{name}]"})
    if key is None:
        if any(tag.startswith(f"{reference.repository}:") for tag in store.tags):
            raise Refused(f"tag does not exist: {reference.tagged}")
        raise Refused(f"An image does not exist locally with the tag: {reference.repository}")
    image = store.images[key]
    shown = [layer.diff[7:19] for layer in image.layers]
    for one in reversed(shown):
        say({"status": "Preparing", "progressDetail": {}, "id": one})
    registry = Registry(reference.host, auth)
    scope = f"repository:{name}:pull,push"
    registry.ping()
    for layer, one in list(zip(image.layers, shown, strict=True))[::-1]:
        if registry.has(name, layer.digest, scope):
            done = "Layer already exists"
        elif source := _mount(store, registry, reference, layer, scope):
            done = f"Mounted from {source}"
        else:
            say({"status": "Pushing", "progressDetail": {"current": 0, "total": layer.raw}, "id": one})
            registry.upload(name, layer.digest, store.blob(layer.digest), scope)
            done = "Pushed"
        store.add_source(layer.digest, f"{reference.host}/{name}")
        say({"status": done, "progressDetail": {}, "id": one})
    if not registry.has(name, key, scope):
        registry.upload(name, key, store.blob(key), scope)
    content = manifest(store, key)
    tag = reference.tag or "latest"
    registry.put_manifest(name, tag, content, scope)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with store.lock:
        store.digests[f"{reference.repository}@{digest}"] = key
        store.save()
    say({"status": f"{tag}: digest: {digest} size: {len(content)}"})
    say({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": len(content)}})


def _mount(store: Store, registry: Registry, reference: Reference, layer: Layer, scope: str) -> str:
    """Mount a layer of another repository of the registry and return that repository's path, or "".

    As with dockerd, the candidate whose path is most alike is tried, and forgotten if it fails.
    """
    prefix = f"{reference.host}/"
    sources = [one.removeprefix(prefix) for one in store.sources.get(layer.digest, ()) if one.startswith(prefix)]
    others = [one for one in reversed(sources) if one != reference.path]
    if not others:
        return ""
    source = max(others, key=lambda one: len(os.path.commonpath([one, reference.path])))
    if registry.mount(reference.path, layer.digest, source, scope):
        return source
    store.drop_source(layer.digest, f"{prefix}{source}")
    return ""


def pull(store: Store, reference: Reference, auth: dict[str, str], platform: str, say: Say) -> str:
    """Pull a tag or digest and return the image's id. Raises Refused."""
    name = reference.path
    wanted = reference.digest or reference.tag or "latest"
    registry = Registry(reference.host, auth)
    try:
        content, kind = registry.document(f"manifests/{wanted}", name, accept=_ACCEPT)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if reference.digest and digest != reference.digest:
            raise Refused(f"manifest verification failed for digest {reference.digest}")
        document = json.loads(content)
        if "manifests" in document or kind in (MANIFEST_LIST, OCI_INDEX):
            content, kind = registry.document(
                f"manifests/{_choose(document, platform)}", name, accept=f"{MANIFEST}, {OCI_MANIFEST}"
            )
            document = json.loads(content)
        raw, _ = registry.document(f"blobs/{document['config']['digest']}", name, limit=_CONFIG_BYTES)
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != document["config"]["digest"]:
            raise Refused("image config verification failed for digest " + document["config"]["digest"])
        config = json.loads(raw)
        diffs = config["rootfs"]["diff_ids"]
        if len(diffs) != len(document["layers"]):
            raise Refused("the image's configuration and its manifest tell of different layers")
    except Denied as error:
        raise _translated(error, reference, wanted, registry.base) from None
    except (ValueError, KeyError, TypeError):
        raise Refused(f"the manifest of {reference} can't be read") from None
    if config.get("os", "linux") != "linux":
        raise Refused(f"operating system {config.get('os')!r} is not supported here")
    say({"status": f"Pulling from {name}", "id": wanted})
    layers = []
    with store.in_use():
        known = {layer.digest: layer for image in store.images.values() for layer in image.layers}
        # docker lists no layers of an image that it has already.
        is_here = document["config"]["digest"] in store.images
        for entry in document["layers"] if not is_here else ():
            is_known = entry["digest"] in known
            text = "Already exists" if is_known else "Pulling fs layer"
            say({"status": text, "progressDetail": {}, "id": entry["digest"][7:19]})
        for entry, diff in zip(document["layers"], diffs, strict=True):
            layers.append(known.get(entry["digest"]) or _layer(store, registry, name, entry, diff, say))
            store.add_source(entry["digest"], f"{reference.host}/{name}")
        before = store.find(str(reference))
        key = store.add(raw, layers)
        with store.lock:
            store.digests[f"{reference.repository}@{digest}"] = key
            if not reference.digest:
                store.tags[reference.tagged] = key
            store.save()
    say({"status": f"Digest: {digest}"})
    newer = "Image is up to date for" if before == key else "Downloaded newer image for"
    say({"status": f"Status: {newer} {reference}"})
    return key


def _layer(store: Store, registry: Registry, name: str, entry: dict[str, Any], diff: str, say: Say) -> Layer:
    digest, shown = entry["digest"], entry["digest"][7:19]
    if entry.get("urls"):
        raise Refused("layers that lie elsewhere than in the registry are not pulled")
    if not str(entry.get("mediaType", LAYER)).endswith(_GZIP):
        raise Refused(f"unsupported media type {entry.get('mediaType')}", 501)
    part = store.temporary("pull")
    for done in registry.download(name, digest, int(entry["size"]), part):
        detail = {"current": done, "total": entry["size"]}
        say({"status": "Downloading", "progressDetail": detail, "id": shown})
    say({"status": "Download complete", "progressDetail": {}, "id": shown})
    found, raw = unpacked_digest(part)
    if found != diff:
        raise Refused(f"layers from manifest don't match image configuration: {digest}")
    try:
        held = measured(part)
    except BAD_ARCHIVE as error:
        raise Refused(f"failed to register layer: {error}") from None
    store.keep(part, digest)
    say({"status": "Pull complete", "progressDetail": {}, "id": shown})
    return Layer(digest, int(entry["size"]), diff, raw, held)


def _choose(index: dict[str, Any], platform: str) -> str:
    system, _, architecture = platform.partition("/")
    architecture = architecture.partition("/")[0]
    for entry in index.get("manifests", ()):
        about = entry.get("platform") or {}
        if about.get("os") == system and about.get("architecture") == architecture:
            return str(entry["digest"])
    raise not_found(f"no matching manifest for {platform} in the manifest list entries")


def _translated(error: Denied, reference: Reference, wanted: str, base: str) -> Refused:
    """Return dockerd's error for a registry's error during a pull."""
    tagged = reference.digested if reference.digest else reference.tagged
    if error.at_token:
        # Refused at the token server. Docker then names the registry's request for which it needed the token.
        verb = "Get" if reference.digest else "Head"
        return Refused(f'{verb} "{base}/v2/{reference.path}/manifests/{wanted}": {error}')
    if error.code == "DENIED":
        return not_found(
            f"pull access denied for {reference.repository}, repository does not exist or may require "
            f"'docker login': {error}"
        )
    if error.code == "MANIFEST_UNKNOWN":
        return not_found(f"manifest for {tagged} not found: {error}")
    if error.code == "NAME_UNKNOWN":
        return not_found(f"repository {reference.repository} not found: {error}")
    return error
