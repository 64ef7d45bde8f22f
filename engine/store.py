"""Images on disk: blobs named by their digest, and a file that lists the images and their names.

    blobs/HEX       configurations and compressed layers      state.json    images, tags, digests, build cache
    containers/ID/  roots/KEY/  volumes/NAME/                 tmp/          unfinished files; emptied at start

An image exists once `state.json` lists it. That file is replaced in one step after all blobs of the image are written,
so a kill leaves no incomplete image, only blobs that the next start deletes. Nothing is synced: that would wait for all
the trees written before. After a power failure the last images may be lost.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import lzma
import queue
import re
import secrets
import shutil
import tarfile
import threading
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from engine import names
from engine.errors import Refused, not_found

# How many results of build steps are cached, and how many bytes of their layers. The least recently used are dropped.
CACHE_ENTRIES = 500
CACHE_BYTES = 600 * 1024**2
_CHUNK = 1 << 20
# How many repositories of a layer are remembered.
_SOURCES = 50


# Raised for a file that is damaged or no archive.
BAD_ARCHIVE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
# The longest extended header of an archive. tarfile reads it into memory.
_HEADER_BYTES = 1 << 20


class Header(tarfile.TarInfo):
    """A header of an untrusted archive. The size of an extended header is checked before it is read."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = (
            *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE),
            *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        )
        if self.type in extended and self.size > _HEADER_BYTES:
            raise Refused(f"the archive has a header of {self.size} bytes; {_HEADER_BYTES} are the most", 400)
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


@dataclass(frozen=True)
class Layer:
    """A layer: digest and size of its compressed blob, and of its archive."""

    digest: str
    size: int
    diff: str
    raw: int
    # The size of its files, which docker shows; -1 in a `state.json` of an older version.
    held: int = -1

    @property
    def shown(self) -> int:
        """The size that docker shows."""
        return self.raw if self.held < 0 else self.held


@dataclass
class Image:
    """An image: its layers, and the ids of the steps that made it, one for each line of its history."""

    layers: list[Layer]
    steps: list[str] = field(default_factory=list)


class Store:
    """The images in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        for name in ("blobs", "containers", "roots", "volumes"):
            (root / name).mkdir(parents=True, exist_ok=True)
        remove_tree(root / "tmp")
        (root / "tmp").mkdir()
        self.images: dict[str, Image] = {}
        self.tags: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.cache: dict[str, dict[str, Any]] = {}
        # Fingerprints of files in images and stages: see `engine.origins`.
        self.fingerprints: dict[str, tuple[str, str]] = {}
        # The repositories that are known to have a layer, by its digest: the last one is the newest.
        self.sources: dict[str, list[str]] = {}
        self._configs: dict[str, dict[str, Any]] = {}
        self._pinned: dict[str, int] = {}
        self._given_up: queue.SimpleQueue[Path] = queue.SimpleQueue()
        threading.Thread(target=self._delete, daemon=True, name="deletes").start()
        self._load()
        self.collect()

    def _load(self) -> None:
        path = self.root / "state.json"
        if not path.exists():
            return
        try:
            state = json.loads(path.read_text())
            for key, image in state["images"].items():
                self.images[key] = Image([Layer(**layer) for layer in image["layers"]], image["steps"])
            self.tags, self.digests, self.cache = state["tags"], state["digests"], state["cache"]
            self.sources = state.get("sources", {})
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"{path} can't be read ({error}). Remove {self.root} to begin anew.") from None

    def save(self) -> None:
        """Replace `state.json` in one step."""
        with self.lock:
            state = {
                "images": {key: asdict(image) for key, image in self.images.items()},
                "tags": self.tags,
                "digests": self.digests,
                "cache": self.cache,
                "sources": self.sources,
            }
            part = self.temporary("state")
            with part.open("w") as file:
                json.dump(state, file)
            part.replace(self.root / "state.json")

    def temporary(self, kind: str) -> Path:
        """Return a new path in tmp/."""
        return self.root / "tmp" / f"{kind}-{secrets.token_hex(8)}"

    def give_up(self, tree: Path) -> None:
        """Move a tree away now and delete it in the background, since an image has thousands of files."""
        place = self.temporary("gone")
        with contextlib.suppress(FileNotFoundError):
            # The image may have made it read-only, and then only root could move it.
            tree.chmod(0o700)
            tree.rename(place)
            self._given_up.put(place)

    def _delete(self) -> None:
        while True:
            # A tree that can't be deleted now is deleted at the next start.
            with contextlib.suppress(OSError):
                remove_tree(self._given_up.get())

    def blob(self, digest: str) -> Path:
        """Return the path of the blob with a digest."""
        return self.root / "blobs" / digest.removeprefix("sha256:")

    def keep(self, part: Path, digest: str) -> None:
        """Move a complete file to its place as a blob."""
        part.replace(self.blob(digest))

    def put(self, content: bytes) -> str:
        """Write a small blob and return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if not self.blob(digest).exists():
            part = self.temporary("blob")
            part.write_bytes(content)
            self.keep(part, digest)
        return digest

    def add_layer(self, archive: Path, *, held: int | None = None, level: int = 5) -> Layer:
        """Store a tar archive as a compressed layer, and delete the archive.

        Args:
            archive: the archive.
            held: the size of its files, if it is known.
            level: the level of compression.
        """
        raw, packed = hashlib.sha256(), self.temporary("layer")
        # Without name and time, the same archive gives the same blob.
        with (
            archive.open("rb") as source,
            packed.open("wb") as target,
            gzip.GzipFile("", "wb", compresslevel=level, fileobj=target, mtime=0) as writer,
        ):
            while block := source.read(_CHUNK):
                raw.update(block)
                writer.write(block)
        size, held = archive.stat().st_size, measured(archive) if held is None else held
        archive.unlink()
        with packed.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        length = packed.stat().st_size
        self.keep(packed, digest)
        return Layer(digest, length, f"sha256:{raw.hexdigest()}", size, held)

    def add(self, config: bytes, layers: list[Layer], steps: list[str] | None = None) -> str:
        """Add an image whose layers are stored already, and return its id."""
        key = self.put(config)
        with self.lock:
            if key not in self.images:
                self.images[key] = Image(layers, steps or [])
                self.save()
        return key

    def config(self, key: str) -> dict[str, Any]:
        """Return an image's configuration."""
        if key not in self._configs:
            self._configs[key] = json.loads(self.blob(key).read_bytes())
        return self._configs[key]

    def find(self, name: str) -> str | None:
        """Return the id of an image by its name, digest or the beginning of its id, or None."""
        with self.lock:
            if name in self.images:
                return name
            try:
                reference = names.parse(name)
            except Refused:
                reference = None
            if reference is not None:
                found = self.digests.get(reference.digested) if reference.digest else self.tags.get(reference.tagged)
                if found:
                    return found
            short = name.removeprefix("sha256:")
            if re.fullmatch("[0-9a-f]{4,64}", short):
                matches = [key for key in self.images if key[7:].startswith(short)]
                return matches[0] if len(matches) == 1 else None
        return None

    def get(self, name: str) -> str:
        """Return the id of an image as `find` does. Raises Refused if there is none."""
        found = self.find(name)
        if found is None:
            try:
                shown = str(names.parse(name))
            except Refused:
                shown = name
            raise not_found(f"No such image: {name if re.fullmatch('(sha256:)?[0-9a-f]{12,64}', name) else shown}")
        return found

    def tag(self, reference: names.Reference, key: str) -> None:
        """Give an image a name."""
        with self.lock:
            self.tags[reference.tagged] = key
            self.save()

    def add_source(self, digest: str, repository: str) -> None:
        """Remember that a repository has a layer. The list is written with the next `save`."""
        with self.lock:
            others = [one for one in self.sources.get(digest, ()) if one != repository]
            self.sources[digest] = [*others[-_SOURCES:], repository]

    def drop_source(self, digest: str, repository: str) -> None:
        """Forget that a repository has a layer."""
        with self.lock:
            self.sources[digest] = [one for one in self.sources.get(digest, ()) if one != repository]

    def names_of(self, key: str) -> list[str]:
        """Return an image's names with tags."""
        with self.lock:
            return sorted(name for name, one in self.tags.items() if one == key)

    def digests_of(self, key: str) -> list[str]:
        """Return an image's names with digests."""
        with self.lock:
            return sorted(name for name, one in self.digests.items() if one == key)

    def remove(self, key: str) -> None:
        """Delete an image with its names and the blobs that no other image needs."""
        with self.lock:
            self.images.pop(key, None)
            self._configs.pop(key, None)
            for table in (self.tags, self.digests):
                for name in [name for name, one in table.items() if one == key]:
                    del table[name]
            self.save()
            self.collect()

    def remember(self, cache_key: str, result: dict[str, Any]) -> None:
        """Cache the result of a build step."""
        with self.lock:
            self.cache.pop(cache_key, None)
            self.cache[cache_key] = result
            while len(self.cache) > CACHE_ENTRIES or self._cached_bytes() > CACHE_BYTES:
                del self.cache[next(iter(self.cache))]
            self.save()

    def recall(self, cache_key: str) -> dict[str, Any] | None:
        """Return the cached result of a build step, or None, and mark it as used last."""
        with self.lock:
            found = self.cache.pop(cache_key, None)
            if found is not None:
                self.cache[cache_key] = found
            return found

    def _cached_bytes(self) -> int:
        layers = [entry["layer"] for entry in self.cache.values() if entry.get("layer")]
        return sum({layer["digest"]: layer["size"] for layer in layers}.values())

    @contextlib.contextmanager
    def in_use(self) -> Any:
        """Keep all blobs for the duration of the context: some may belong to an image that isn't listed yet."""
        token = secrets.token_hex(4)
        with self.lock:
            self._pinned[token] = 1
        try:
            yield
        finally:
            with self.lock:
                del self._pinned[token]

    def collect(self) -> int:
        """Delete the blobs that no image and no cached step needs, and return their size."""
        with self.lock:
            if self._pinned:
                return 0
            needed = {key[7:] for key in self.images}
            needed |= {layer.digest[7:] for image in self.images.values() for layer in image.layers}
            needed |= {entry["layer"]["digest"][7:] for entry in self.cache.values() if entry.get("layer")}
            self.sources = {digest: found for digest, found in self.sources.items() if digest[7:] in needed}
            freed = 0
            for path in (self.root / "blobs").iterdir():
                if path.name not in needed:
                    freed += path.stat().st_size
                    path.unlink()
            return freed


def measured(archive: Path) -> int:
    """Return the size of the files in a layer's archive, compressed or not. Raises one of BAD_ARCHIVE."""
    with tarfile.open(archive, "r:*", tarinfo=Header) as found:
        return sum(len(one.linkname) if one.issym() else one.size for one in found)


def copy_bounded(source: IO[bytes], target: IO[bytes], limit: int, what: str) -> int:
    """Copy a stream of at most `limit` bytes. Raises Refused if it is longer."""
    done = 0
    while block := source.read(_CHUNK):
        done += len(block)
        if done > limit:
            raise Refused(f"{what} is larger than {limit} bytes")
        target.write(block)
    return done


def remove_tree(path: Path) -> None:
    """Delete a folder if it exists, whatever the modes in it."""

    def open_up(_function: Any, name: str, _about: Any) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(0o700)
            if not Path(name).is_symlink():
                Path(name).chmod(0o700)
            if Path(name).is_dir() and not Path(name).is_symlink():
                shutil.rmtree(name, ignore_errors=True)
            else:
                Path(name).unlink()

    if path.exists():
        shutil.rmtree(path, onerror=open_up)
