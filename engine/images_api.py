"""The API calls for images and registries."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from engine import archives, dockerfile, names, present, transfer
from engine.errors import Refused, bad_request, conflict, not_found
from engine.machine import Machine
from engine.registry import MANIFEST, MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST, Denied, Registry
from engine.server import Call, route
from engine.settings import configure, default_platform
from engine.store import Store

_KINDS = f"{MANIFEST_LIST}, {OCI_INDEX}, {MANIFEST}, {OCI_MANIFEST}"


def _store(call: Call) -> Store:
    found: Store = call.engine.store
    return found


def auth(text: str | None) -> dict[str, str]:
    """Return the credentials of the header X-Registry-Auth, whose names docker and docker-py spell differently."""
    if not text:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return {str(key).lower(): str(value) for key, value in found.items() if value}
    except (binascii.Error, ValueError, AttributeError):
        raise bad_request("the header X-Registry-Auth can't be read") from None


@route("GET", "/images/json")
def list_images(call: Call) -> None:
    """Answer `docker images`."""
    machine: Machine = call.engine
    call.reply(200, present.images(_store(call), call.filters(), list(machine.containers.values())))


@route("GET", "/images/(?P<name>.+)/json")
def inspect(call: Call) -> None:
    """Answer `docker image inspect`."""
    store = _store(call)
    name = call.names["name"]
    try:
        key = store.get(name)
    except Refused as error:
        raise not_found(f"no such image: {name}: {error}") from None
    call.reply(200, present.image(store, key))


@route("GET", "/images/(?P<name>.+)/history")
def history(call: Call) -> None:
    """Answer `docker history`."""
    store = _store(call)
    call.reply(200, present.history(store, store.get(call.names["name"])))


@route("POST", "/images/(?P<name>.+)/tag")
def tag(call: Call) -> None:
    """Answer `docker tag`."""
    store = _store(call)
    key = store.get(call.names["name"])
    text = call.one("repo") + (f":{call.one('tag')}" if call.one("tag") else "")
    reference = names.parse(text)
    if reference.digest:
        raise bad_request("refusing to create a tag with a digest reference")
    store.tag(reference, key)
    call.reply(201)


@route("POST", "/images/(?P<name>.+)/push")
def push(call: Call) -> None:
    """Answer `docker push`, one tag or all of a repository."""
    store, given = _store(call), auth(call.headers.get("X-Registry-Auth"))
    reference = names.parse(call.names["name"] + (f":{call.one('tag')}" if call.one("tag") else ""))
    wanted = [reference]
    if not call.one("tag") and not reference.tag:
        found = [names.parse(tag) for tag in sorted(store.tags)]
        wanted = [one for one in found if one.repository == reference.repository]
        if not wanted:
            raise Refused(f"An image does not exist locally with the tag: {reference.repository}")

    def work(say: transfer.Say) -> None:
        for one in wanted:
            transfer.push(store, one, given, say)

    call.messages(work)


@route("POST", "/images/create")
def create(call: Call) -> None:
    """Answer `docker pull` and `docker import`."""
    store = _store(call)
    if call.one("fromSrc"):
        return _import(call, store)
    text, wanted = call.one("fromImage"), call.one("tag")
    if wanted:
        text = f"{text.partition('@')[0]}@{wanted}" if wanted.startswith("sha256:") else f"{text}:{wanted}"
    reference, given = names.parse(text), auth(call.headers.get("X-Registry-Auth"))
    platform = call.one("platform") or default_platform()
    if "/" not in platform:
        platform = f"linux/{platform}" if platform != "linux" else default_platform()
    return call.messages(lambda say: transfer.pull(store, reference, given, platform, say))


def _import(call: Call, store: Store) -> None:
    if call.one("fromSrc") != "-":
        raise Refused("the workbook's engine does not do this: docker import of what lies on a server", 501)
    config: dict[str, Any] = {}
    for text in call.query.get("changes", ()):
        for one in dockerfile.parse(f"FROM scratch\n{text}")[1:]:
            if one.word in ("ADD", "COPY", "RUN", "FROM", "ARG"):
                raise bad_request(f"{one.word.lower()} is not a valid change command")
            if one.word == "WORKDIR":
                config["WorkingDir"] = one.rest
            else:
                configure(one, config, {}, "")
    reference = (
        names.parse(call.one("repo") + (f":{call.one('tag')}" if call.one("tag") else "")) if call.one("repo") else None
    )
    architecture = (call.one("platform") or default_platform()).partition("/")[2].partition("/")[0]
    message = call.one("message") or "Imported from -"
    key = archives.import_tree(store, call.body, config, message, architecture)
    if reference is not None:
        store.tag(reference, key)
    call.messages(lambda say: say({"status": key}))


@route("DELETE", "/images/(?P<name>.+)")
def remove(call: Call) -> None:
    """Answer `docker rmi`."""
    store, name, machine = _store(call), call.names["name"], call.engine
    with store.lock:
        key = store.get(name)
        deleted: list[dict[str, str]] = []
        by_id = key.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
        tags, digests = store.names_of(key), store.digests_of(key)
        users = [one for one in machine.containers.values() if one.about["image"] == key]
        if by_id:
            repositories = {names.parse(one).repository for one in (*tags, *digests)}
            if len(repositories) > 1 and not call.is_set("force"):
                raise conflict(
                    f"conflict: unable to delete {key[7:19]} (must be forced) - image is referenced in multiple "
                    "repositories"
                )
            _check_users(key[7:19], users, force=call.is_set("force"))
            gone = [*tags, *digests]
        else:
            reference = names.parse(name)
            exact = reference.digested if reference.digest else reference.tagged
            gone = [exact]
            left = [one for one in tags if one != exact and names.parse(one).repository == reference.repository]
            if not left and not reference.digest:
                gone += [one for one in digests if names.parse(one).repository == reference.repository]
            if set(gone) >= {*tags, *digests}:
                _check_users(name, users, force=call.is_set("force"), by_name=True)
        for one in gone:
            store.tags.pop(one, None)
            store.digests.pop(one, None)
            deleted.append({"Untagged": one})
        store.save()
        if not store.names_of(key) and not store.digests_of(key) and not users:
            layers = _own_layers(store, key)
            store.remove(key)
            deleted += [{"Deleted": one} for one in (key, *layers)]
    call.reply(200, deleted)


def _check_users(name: str, users: list[Any], *, force: bool, by_name: bool = False) -> None:
    running = [one for one in users if one.running]
    if running and not by_name:
        raise conflict(
            f"conflict: unable to delete {name} (cannot be forced) - image is being used by running container "
            f"{running[0].id[:12]}"
        )
    if users and not force:
        if by_name:
            raise conflict(
                f'conflict: unable to remove repository reference "{name}" (must force) - container {users[0].id[:12]} '
                f"is using its referenced image {users[0].about['image'][7:19]}"
            )
        raise conflict(
            f"conflict: unable to delete {name} (must be forced) - image is being used by stopped container "
            f"{users[0].id[:12]}"
        )


def _own_layers(store: Store, key: str) -> list[str]:
    """Return the chain ids of the layers that no other image has."""
    chains: dict[str, list[str]] = {}
    for one, image in store.images.items():
        chain, listed = "", []
        for layer in image.layers:
            text = f"{chain} {layer.diff}" if chain else layer.diff
            chain = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if chain else layer.diff
            listed.append(chain)
        chains[one] = listed
    others = {one for name, listed in chains.items() if name != key for one in listed}
    return [one for one in chains[key][::-1] if one not in others]


@route("POST", "/images/prune")
def prune(call: Call) -> None:
    """Answer `docker image prune`."""
    store, machine = _store(call), call.engine
    filters = call.filters()
    for name in filters:
        if name not in ("dangling", "label"):
            raise bad_request(f"Invalid filter '{name}'")
    everything = filters.get("dangling", ["true"])[0] in ("0", "false")
    used = {one.about["image"] for one in machine.containers.values()}
    deleted, before = [], _bytes(store)
    with store.lock:
        for key in list(store.images):
            labels = (store.config(key).get("config") or {}).get("Labels") or {}
            named = store.names_of(key) or store.digests_of(key)
            if key in used or (named and not everything) or not present.has_labels(labels, filters.get("label", ())):
                continue
            deleted += [{"Untagged": one} for one in store.names_of(key)] + [{"Deleted": key}]
            store.remove(key)
    call.reply(200, {"ImagesDeleted": deleted or None, "SpaceReclaimed": before - _bytes(store)})


def _bytes(store: Store) -> int:
    return sum(path.stat().st_size for path in (store.root / "blobs").iterdir())


@route("POST", "/build/prune")
def prune_builds(call: Call) -> None:
    """Answer `docker builder prune`."""
    store = _store(call)
    with store.lock:
        before = _bytes(store)
        gone = list(store.cache)
        store.cache.clear()
        store.save()
        store.collect()
    call.engine.roots.clear()
    call.reply(200, {"CachesDeleted": [key[:25] for key in gone], "SpaceReclaimed": before - _bytes(store)})


@route("GET", "/images/get")
def save_several(call: Call) -> None:
    """Answer `docker save` of several images."""
    _save(call, [name for text in call.query.get("names", ()) for name in text.split(",")])


@route("GET", "/images/(?P<name>.+)/get")
def save_one(call: Call) -> None:
    """Answer `docker save` of one image."""
    _save(call, [call.names["name"]])


def _save(call: Call, wanted: list[str]) -> None:
    store = _store(call)
    for name in wanted:
        if store.find(name) is None:
            raise not_found("reference does not exist")

    class Sink:
        def __init__(self, send: Any) -> None:
            self._send = send

        def write(self, block: bytes) -> int:
            self._send(block)
            return len(block)

    with store.in_use(), call.chunks("application/x-tar") as send:
        sink: Any = Sink(send)
        archives.save(store, wanted, sink)


@route("POST", "/images/load")
def load(call: Call) -> None:
    """Answer `docker load`."""
    store = _store(call)

    def work(say: transfer.Say) -> None:
        try:
            for line in archives.load(store, call.body):
                say({"stream": line})
        except Refused as error:
            # What is wrong with an archive is a line of the answer, not its status.
            say(error.detail())

    call.messages(work)


@route("GET", "/distribution/(?P<name>.+)/json")
def distribution(call: Call) -> None:
    """Answer whether a registry has an image."""
    reference = names.parse(call.names["name"])
    registry = Registry(reference.host, auth(call.headers.get("X-Registry-Auth")))
    try:
        wanted = reference.digest or reference.tag or "latest"
        content, kind = registry.document(f"manifests/{wanted}", reference.path, accept=_KINDS)
    except Denied as error:
        raise Refused(str(error), {"UNAUTHORIZED": 401, "DENIED": 403}.get(error.code, 404)) from None
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    listed = json.loads(content).get("manifests") or []
    platforms = [one.get("platform") for one in listed]
    call.reply(200, {"Descriptor": {"mediaType": kind, "digest": digest, "size": len(content)}, "Platforms": platforms})


@route("POST", "/auth")
def sign_in(call: Call) -> None:
    """Answer `docker login`."""
    given = {str(key).lower(): str(value) for key, value in call.document().items() if value}
    address = given.get("serveraddress", "")
    host = address.removeprefix("http://").removeprefix("https://").partition("/")[0]
    registry = Registry(names.DOCKER_HUB if host in ("", "index.docker.io") else host, given)
    try:
        registry.sign_in()
    except Denied as error:
        raise Refused(f'Get "{registry.base}/v2/": {error}', 401) from None
    call.reply(200, {"IdentityToken": "", "Status": "Login Succeeded"})
