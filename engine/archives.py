"""Archives of `docker save`, `docker load`, `docker import` and `docker cp`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from engine import names, trees
from engine.errors import Refused, bad_request, not_found
from engine.runs import now
from engine.store import BAD_ARCHIVE, Header, Layer, Store, copy_bounded, remove_tree
from engine.trees import UNPACKED_BYTES, Notes, Unpacker

_CHUNK = 1 << 20


def unpacked_digest(path: Path) -> tuple[str, int]:
    """Return the digest and size of a layer once unpacked. Raises Refused if it is damaged or too large."""
    hashed, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            while block := file.read(_CHUNK):
                size += len(block)
                if size > UNPACKED_BYTES:
                    raise Refused("a layer unpacks to more than this engine takes (10 GB)")
                hashed.update(block)
    except (OSError, EOFError) as error:
        raise Refused(f"failed to register layer: {error}") from None
    return f"sha256:{hashed.hexdigest()}", size


def save(store: Store, wanted: Sequence[str], to: IO[bytes]) -> None:
    """Write images as `docker save` does. Raises Refused before anything is written."""
    chosen: dict[str, list[str]] = {}
    for name in wanted:
        key = store.get(name)
        reference = None if key.removeprefix("sha256:").startswith(name.removeprefix("sha256:")) else names.parse(name)
        tags = chosen.setdefault(key, [])
        if reference is not None and not reference.digest:
            tags.append(reference.tagged)
    with tarfile.open(fileobj=to, mode="w|") as archive:
        listed, written = [], set()
        for key, tags in chosen.items():
            config = store.blob(key).read_bytes()
            _add(archive, f"{key[7:]}.json", io.BytesIO(config), len(config))
            places = []
            for layer in store.images[key].layers:
                places.append(f"{layer.diff[7:]}/layer.tar")
                if layer.diff not in written:
                    written.add(layer.diff)
                    with gzip.open(store.blob(layer.digest)) as file:
                        _add(archive, places[-1], file, layer.raw)
            listed.append({"Config": f"{key[7:]}.json", "RepoTags": sorted(tags) or None, "Layers": places})
        content = json.dumps(listed).encode()
        _add(archive, "manifest.json", io.BytesIO(content), len(content))


def _unread(error: Exception) -> str:
    """Return Docker's message for a file that is truncated or no archive."""
    reason = "unexpected EOF" if "truncated" in str(error) or isinstance(error, tarfile.ReadError) else str(error)
    return f"Error processing tar file(exit status 1): {reason}"


def _add(archive: tarfile.TarFile, name: str, content: Any, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, content)


def load(store: Store, source: IO[bytes]) -> list[str]:
    """Add the images of a `docker save` archive and return the lines to print. Raises Refused."""
    folder = store.temporary("load")
    folder.mkdir()
    try:
        with store.in_use():
            _unpack(source, folder)
            return _load(store, folder)
    finally:
        remove_tree(folder)


def _unpack(source: IO[bytes], folder: Path) -> None:
    try:
        with tarfile.open(fileobj=source, mode="r|*", tarinfo=Header) as archive:
            Unpacker(folder, whiteouts=False, owner=(os.geteuid(), os.getegid())).unpack(archive)
    except BAD_ARCHIVE as error:
        raise Refused(_unread(error)) from None


def _load(store: Store, folder: Path) -> list[str]:
    try:
        listed = json.loads(_inside(folder, "manifest.json").read_bytes())
        lines = []
        for entry in listed:
            raw = _inside(folder, entry["Config"]).read_bytes()
            diffs = json.loads(raw)["rootfs"]["diff_ids"]
            if len(diffs) != len(entry["Layers"]):
                raise Refused("invalid manifest, layers length mismatch")
            layers = [
                _taken(store, _inside(folder, place), diff) for place, diff in zip(entry["Layers"], diffs, strict=True)
            ]
            key = store.add(raw, layers)
            for tag in entry.get("RepoTags") or []:
                reference = names.parse(tag)
                store.tag(reference, key)
                lines.append(f"Loaded image: {reference.tagged}\n")
            if not entry.get("RepoTags"):
                lines.append(f"Loaded image ID: {key}\n")
        return lines
    except (OSError, ValueError, KeyError, TypeError, AttributeError, *BAD_ARCHIVE) as error:
        raise bad_request(f"the archive is none of `docker save`: {error}") from None


def _inside(folder: Path, name: str) -> Path:
    found = trees.resolve(folder, trees.clean(str(name)), last=True)
    if not found.is_file():
        raise bad_request(f"the archive holds no file {name}")
    return found


def _taken(store: Store, path: Path, diff: str) -> Layer:
    for image in store.images.values():
        for layer in image.layers:
            if layer.diff == diff:
                return layer
    plain = store.temporary("plain")
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as source, plain.open("wb") as target:
        copy_bounded(source, target, UNPACKED_BYTES, "a layer")  # type: ignore[arg-type]
    made = store.add_layer(plain)
    if made.diff != diff:
        raise Refused(f"a layer of the archive is not the one that its configuration names: {diff}")
    return made


def import_tree(store: Store, source: IO[bytes], config: dict[str, Any], message: str, architecture: str) -> str:
    """Make an image with one layer from the archive of a file tree, and return its id. Raises Refused."""
    plain = store.temporary("import")
    with store.in_use():
        with plain.open("wb") as target:
            copy_bounded(source, target, UNPACKED_BYTES, "the archive")
        with plain.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        if packed:
            unpacked = store.temporary("import")
            with gzip.open(plain) as file, unpacked.open("wb") as target:
                copy_bounded(file, target, UNPACKED_BYTES, "the archive")  # type: ignore[arg-type]
            unpacked.replace(plain)
        try:
            with tarfile.open(plain, mode="r|", tarinfo=Header) as archive:
                for _ in archive:
                    pass
        except BAD_ARCHIVE as error:
            plain.unlink()
            raise Refused(_unread(error)) from None
        layer = store.add_layer(plain)
        created = now()
        document = {
            "architecture": architecture,
            "comment": message,
            "config": config,
            "created": created,
            "docker_version": "",
            "history": [{"created": created, "comment": message}],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff]},
        }
        return store.add(json.dumps(document, separators=(",", ":")).encode(), [layer])


# ---- docker cp


def about(root: Path, path: str) -> dict[str, Any]:
    """Return the attributes of a path in a container, which `docker cp` requests first. Raises Refused."""
    place = trees.resolve(root, path, last=False)
    try:
        found = place.lstat()
    except OSError:
        raise not_found(f"no such file: {path}") from None
    mode = stat.S_IMODE(found.st_mode) & 0o777
    for is_kind, bit in ((stat.S_ISDIR, 1 << 31), (stat.S_ISLNK, 1 << 27), (stat.S_ISFIFO, 1 << 25)):
        mode |= bit if is_kind(found.st_mode) else 0
    target = ""
    if place.is_symlink():
        target = "/" + trees.place_in_root(root, trees.resolve(root, path, last=True))
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
    return {"name": place.name or "/", "size": found.st_size, "mode": mode, "mtime": when, "linkTarget": target}


def read(root: Path, path: str, to: IO[bytes]) -> None:
    """Write a container's file or folder as an archive."""
    place = trees.resolve(root, path, last=path.endswith("/."))
    base = place.name if place != root else "/"
    with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        archive.add(place, base if base != "/" else ".")


def write(root: Path, path: str, source: IO[bytes], owner: tuple[int, int] | None) -> None:
    """Unpack an archive into a container's folder. Raises Refused."""
    place = trees.resolve(root, path, last=True)
    if not place.exists():
        raise not_found(f"no such directory: {path}")
    if not place.is_dir():
        raise bad_request("extraction point is not a directory")
    try:
        with tarfile.open(fileobj=source, mode="r|*", tarinfo=Header) as archive:
            # Links in the container are followed, but never out of its root.
            Nested(root, place, owner).unpack(archive)
    except BAD_ARCHIVE as error:
        raise Refused(_unread(error)) from None


class Nested(Unpacker):
    """Unpacks an archive into a folder below a root. Links are resolved inside that root."""

    def __init__(self, root: Path, folder: Path, owner: tuple[int, int] | None, notes: Notes | None = None) -> None:
        super().__init__(root, {} if notes is None else notes, whiteouts=False, owner=owner)
        self._prefix = trees.place_in_root(root, folder)

    def _one(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = trees.clean(member.name)
        member.name = f"{self._prefix}/{name}" if name else ""
        if member.islnk():
            member.linkname = f"{self._prefix}/{trees.clean(member.linkname)}"
        super()._one(archive, member)
