"""Images on disk: blobs by their digest, and one file that says which images there are and how they are called.

    blobs/HEX       configurations and compressed layers      state.json    images, tags, digests, build cache
    containers/ID/  roots/KEY/  volumes/NAME/                 tmp/          what a kill may leave; emptied at start

An image is listed once `state.json` names it, which is replaced in one step after all its blobs are written. So a kill
leaves no image by half, only blobs that the next start removes. Nothing is forced onto the disk: that would wait for
all the trees written before, and a machine that loses its power may lose its last images.
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

# The last used results of build steps are remembered, and their layers kept: so many, and so many bytes.
CACHE_ENTRIES = 500
CACHE_BYTES = 600 * 1024**2
_CHUNK = 1 << 20


# What a stream that is no archive, or a damaged one, raises.
BAD_ARCHIVE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
# The longest name or record of an archive: tarfile reads them whole.
_HEADER_BYTES = 1 << 20


class Header(tarfile.TarInfo):
    """A header of a stranger's archive, whose extension is looked at before it is read."""

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
    """A compressed layer: its blob, and what it is when unpacked."""

    digest: str
    size: int
    diff: str
    raw: int
    # The bytes of its files, which docker shows as its size; -1 of one that was kept before they were counted.
    held: int = -1

    @property
    def shown(self) -> int:
        """The size that docker shows."""
        return self.raw if self.held < 0 else self.held


@dataclass
class Image:
    """An image: its layers in order, and the ids of the steps that made it, one for each line of its history."""

    layers: list[Layer]
    steps: list[str] = field(default_factory=list)


class Store:
    """The images of one folder."""

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
        # What was copied out of images and stages, by their layers and the paths: see `engine.origins`.
        self.fingerprints: dict[str, tuple[str, str]] = {}
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
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"{path} can't be read ({error}). Remove {self.root} to begin anew.") from None

    def save(self) -> None:
        """Write the list of images in one step."""
        with self.lock:
            state = {
                "images": {key: asdict(image) for key, image in self.images.items()},
                "tags": self.tags,
                "digests": self.digests,
                "cache": self.cache,
            }
            part = self.temporary("state")
            with part.open("w") as file:
                json.dump(state, file)
            part.replace(self.root / "state.json")

    def temporary(self, kind: str) -> Path:
        """Return a path of its own under tmp/."""
        return self.root / "tmp" / f"{kind}-{secrets.token_hex(8)}"

    def give_up(self, tree: Path) -> None:
        """Take a tree away at once and delete it later: that of an image has thousands of files."""
        place = self.temporary("gone")
        with contextlib.suppress(FileNotFoundError):
            # An image may have closed it, and then only root could move it.
            tree.chmod(0o700)
            tree.rename(place)
            self._given_up.put(place)

    def _delete(self) -> None:
        while True:
            # What can't be deleted now is when the engine starts again.
            with contextlib.suppress(OSError):
                remove_tree(self._given_up.get())

    def blob(self, digest: str) -> Path:
        """Return where the blob of a digest lies."""
        return self.root / "blobs" / digest.removeprefix("sha256:")

    def keep(self, part: Path, digest: str) -> None:
        """Make a finished file the blob of its digest."""
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
        """Compress the tar archive `archive`, keep it as a layer and delete the archive.

        Args:
            archive: the archive.
            held: the bytes of its files, where they are known already.
            level: how hard to compress.
        """
        raw, packed = hashlib.sha256(), self.temporary("layer")
        # No name and no time: the same tree gives the same blob.
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
        """List an image whose layers are here, and return its id."""
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
        """Return the id of the image that a name, a digest or the beginning of an id means."""
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
        """Return the id of an image. Raises Refused when there is none."""
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

    def names_of(self, key: str) -> list[str]:
        """Return an image's names with tags."""
        with self.lock:
            return sorted(name for name, one in self.tags.items() if one == key)

    def digests_of(self, key: str) -> list[str]:
        """Return an image's names with digests."""
        with self.lock:
            return sorted(name for name, one in self.digests.items() if one == key)

    def remove(self, key: str) -> None:
        """Take an image and all its names off the list, and delete what no other needs."""
        with self.lock:
            self.images.pop(key, None)
            self._configs.pop(key, None)
            for table in (self.tags, self.digests):
                for name in [name for name, one in table.items() if one == key]:
                    del table[name]
            self.save()
            self.collect()

    def remember(self, cache_key: str, result: dict[str, Any]) -> None:
        """Keep the result of a build step."""
        with self.lock:
            self.cache.pop(cache_key, None)
            self.cache[cache_key] = result
            while len(self.cache) > CACHE_ENTRIES or self._cached_bytes() > CACHE_BYTES:
                del self.cache[next(iter(self.cache))]
            self.save()

    def recall(self, cache_key: str) -> dict[str, Any] | None:
        """Return the result of a build step, which is now the last used one."""
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
        """While it lasts, no blob is deleted: one may be written that no image names yet."""
        token = secrets.token_hex(4)
        with self.lock:
            self._pinned[token] = 1
        try:
            yield
        finally:
            with self.lock:
                del self._pinned[token]

    def collect(self) -> int:
        """Delete blobs that no image and no build step needs; the bytes that this freed."""
        with self.lock:
            if self._pinned:
                return 0
            needed = {key[7:] for key in self.images}
            needed |= {layer.digest[7:] for image in self.images.values() for layer in image.layers}
            needed |= {entry["layer"]["digest"][7:] for entry in self.cache.values() if entry.get("layer")}
            freed = 0
            for path in (self.root / "blobs").iterdir():
                if path.name not in needed:
                    freed += path.stat().st_size
                    path.unlink()
            return freed


def measured(archive: Path) -> int:
    """Return how many bytes the files of a layer's archive, compressed or not, take in a folder. Raises TarError."""
    with tarfile.open(archive, "r:*", tarinfo=Header) as found:
        return sum(len(one.linkname) if one.issym() else one.size for one in found)


def copy_bounded(source: IO[bytes], target: IO[bytes], limit: int, what: str) -> int:
    """Copy a stream of at most `limit` bytes. Raises Refused when there are more."""
    done = 0
    while block := source.read(_CHUNK):
        done += len(block)
        if done > limit:
            raise Refused(f"{what} is larger than {limit} bytes")
        target.write(block)
    return done


def remove_tree(path: Path) -> None:
    """Delete a folder of ours, whatever the modes in it; what isn't there is no error."""

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
