"""COPY and ADD: find the files that a pattern names, detect changes, and copy them into a stage's tree."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine import trees
from engine.archives import Nested
from engine.errors import Refused
from engine.store import BAD_ARCHIVE, Header
from engine.trees import Notes


@dataclass(frozen=True)
class Source:
    """A file or folder to copy: its place on the disk, and its name in the instruction."""

    path: Path
    name: str


def sources(root: Path, patterns: Sequence[str]) -> list[Source]:
    """Return the files and folders that match the patterns inside `root`. Raises Refused if one matches nothing."""
    found = []
    for pattern in patterns:
        plain = "/".join(part for part in pattern.split("/") if part not in ("", "."))
        if _climbs(plain):
            raise Refused(f"COPY failed: forbidden path outside the build context: {pattern} ()")
        if any(char in pattern for char in "*?["):
            matched = sorted(_matching(root, plain))
            if not matched:
                raise Refused("COPY failed: no source files were specified")
            found += [Source(trees.resolve(root, name, last=False), name) for name in matched]
            continue
        place = trees.resolve(root, plain, last=True)
        if not place.exists() and not place.is_symlink():
            raise Refused(
                "COPY failed: file not found in build context or excluded by .dockerignore: "
                f"stat {plain}: file does not exist"
            )
        found.append(Source(place, plain))
    return found


def _climbs(path: str) -> bool:
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _matching(root: Path, pattern: str) -> Iterator[str]:
    parts = pattern.split("/")

    def walk(folder: str, left: list[str]) -> Iterator[str]:
        place = trees.resolve(root, folder, last=True)
        if not place.is_dir():
            return
        for name in os.listdir(place):
            if fnmatch.fnmatchcase(name, left[0]):
                full = f"{folder}/{name}".lstrip("/")
                if len(left) == 1:
                    yield full
                else:
                    yield from walk(full, left[1:])

    return walk("", parts)


def fingerprint(chosen: Sequence[Source]) -> str:
    """Return a digest of names, modes and contents. As with Docker, times are left out."""
    found = hashlib.sha256()
    for source in chosen:
        for path, name in _all(source.path):
            about = path.lstat()
            found.update(f"{source.name}\0{name}\0{stat.S_IFMT(about.st_mode)}\0{about.st_mode & 0o7777}\0".encode())
            if path.is_symlink():
                found.update(os.readlink(path).encode())
            elif path.is_file():
                with path.open("rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _all(path: Path) -> Iterator[tuple[Path, str]]:
    yield path, ""
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted((*folders, *files)):
                full = Path(folder) / name
                yield full, full.relative_to(path).as_posix()


@dataclass
class Copier:
    """Copies files into a tree.

    Attributes:
        root: the tree to copy to.
        notes: owners and modes in that tree that the disk can't store.
        owner: who is to own the copies; None keeps the owners, as COPY does from another stage.
        origin: the tree to copy from.
        known: owners and modes in that tree that the disk can't store.
    """

    root: Path
    notes: Notes
    owner: tuple[int, int] | None
    origin: Path
    known: Notes = field(default_factory=dict)

    def copy(self, chosen: Sequence[Source], target: str, *, unpack: bool) -> None:
        """Copy files, and of folders the contents. `unpack` unpacks archives, as ADD does."""
        folder = target.endswith("/")
        if len(chosen) > 1 and not folder:
            raise Refused(
                "When using COPY with more than one source file, the destination must be a directory and end with a /"
            )
        for source in chosen:
            if source.path.is_dir() and not source.path.is_symlink():
                base = self._folder(target)
                links: dict[int, Path] = {}
                for path, name in _all(source.path):
                    if name:
                        self._put(path, base / name, links)
                continue
            if unpack and source.path.is_file() and _is_archive(source.path):
                base = self._folder(target)
                with tarfile.open(source.path, "r:*", tarinfo=Header) as archive:
                    Nested(self.root, base, None, self.notes).unpack(archive)
                continue
            place = trees.resolve(self.root, target, last=True)
            if folder or place.is_dir():
                place = self._folder(target) / Path(source.name).name
            else:
                self._folder(target.rpartition("/")[0] or "/")
            self._put(source.path, place, {})

    def _folder(self, target: str) -> Path:
        return make_folder(self.root, target, self.notes, self.owner or (0, 0))

    def _put(self, source: Path, place: Path, links: dict[int, Path]) -> None:
        about = source.lstat()
        uid, gid, mode = self.known.get(
            trees.place_in_root(self.origin, source), (about.st_uid, about.st_gid, about.st_mode & 0o7777)
        )
        if os.geteuid() != 0 and trees.place_in_root(self.origin, source) not in self.known:
            # A file of this process's user belongs to root in the image.
            uid, gid = 0, 0
        owner = self.owner or (uid, gid)
        if stat.S_ISDIR(about.st_mode):
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                place.unlink()
            place.mkdir(exist_ok=True)
            place.chmod(mode | (0 if os.geteuid() == 0 else 0o700))
            _own(place, self.root, self.notes, owner, mode)
            return
        if place.is_dir() and not place.is_symlink():
            raise Refused(f"cannot copy to directory: {trees.place_in_root(self.root, place)}")
        place.unlink(missing_ok=True)
        if about.st_nlink > 1 and about.st_ino in links:
            os.link(links[about.st_ino], place, follow_symlinks=False)
            return
        if stat.S_ISLNK(about.st_mode):
            place.symlink_to(os.readlink(source))
        elif stat.S_ISREG(about.st_mode):
            shutil.copyfile(source, place)
        else:
            return
        links[about.st_ino] = place
        _own(place, self.root, self.notes, owner, mode)
        if stat.S_ISREG(about.st_mode):
            # Set after the owner: changing that clears the set-user bit.
            place.chmod(mode | (0 if os.geteuid() == 0 else 0o600))
        os.utime(place, ns=(about.st_atime_ns, about.st_mtime_ns), follow_symlinks=False)


def _is_archive(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:*", tarinfo=Header):
            return True
    except (OSError, *BAD_ARCHIVE):
        return False


def make_folder(root: Path, target: str, notes: Notes, owner: tuple[int, int]) -> Path:
    """Make a folder of a tree and its parents, and return it."""
    place = root
    done = ""
    for part in [one for one in target.split("/") if one not in ("", ".")]:
        done = f"{done}/{part}"
        place = trees.resolve(root, done, last=True)
        if not place.exists():
            place.mkdir(mode=0o755, parents=True)
            place.chmod(0o755)
            _own(place, root, notes, owner, 0o755)
        elif not place.is_dir():
            raise Refused(f"cannot copy to non-directory: {done}")
    return place


def _own(place: Path, root: Path, notes: Notes, owner: tuple[int, int], mode: int) -> None:
    if os.geteuid() == 0:
        os.chown(place, *owner, follow_symlinks=False)
        return
    trees.note(notes, trees.place_in_root(root, place), *owner, mode, place)
