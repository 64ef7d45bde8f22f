"""COPY and ADD: which files are meant, what tells that they changed, and how they get into a stage's tree."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine import trees
from engine.errors import Refused
from engine.trees import Notes, Unpacker


@dataclass(frozen=True)
class Source:
    """A file or folder to copy: where it lies, how it was asked for, and its tree's notes."""

    path: Path
    name: str


def sources(root: Path, patterns: Sequence[str]) -> list[Source]:
    """Return what the patterns mean inside `root`. Raises Refused for what isn't there."""
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
    """Return a digest over names, modes and contents; times don't count, as with Docker."""
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


def copy(
    chosen: Sequence[Source], root: Path, target: str, notes: Notes, owner: tuple[int, int], *, unpack: bool
) -> None:
    """Copy files into a tree; a folder's content, not itself. `unpack` takes archives apart, as ADD does."""
    folder = target.endswith("/")
    if len(chosen) > 1 and not folder:
        raise Refused(
            "When using COPY with more than one source file, the destination must be a directory and end with a /"
        )
    for source in chosen:
        if source.path.is_dir() and not source.path.is_symlink():
            base = _folder(root, target, notes, owner)
            for path, name in _all(source.path):
                if name:
                    _put(path, base / name, root, notes, owner)
            continue
        if unpack and source.path.is_file() and _is_archive(source.path):
            base = _folder(root, target, notes, owner)
            with tarfile.open(source.path, "r:*") as archive:
                _unpacker(root, base, notes).unpack(archive)
            continue
        place = trees.resolve(root, target, last=True)
        if folder or place.is_dir():
            place = _folder(root, target, notes, owner) / Path(source.name).name
        else:
            _folder(root, target.rpartition("/")[0] or "/", notes, owner)
        _put(source.path, place, root, notes, owner)


def _unpacker(root: Path, base: Path, notes: Notes) -> Unpacker:
    from engine.archives import Nested

    return Nested(root, base, None, notes)


def _is_archive(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except OSError:
        return False


def make_folder(root: Path, target: str, notes: Notes, owner: tuple[int, int]) -> Path:
    """Make a folder of a tree, and those above it."""
    return _folder(root, target, notes, owner)


def _folder(root: Path, target: str, notes: Notes, owner: tuple[int, int]) -> Path:
    place = root
    done = ""
    for part in [one for one in target.split("/") if one not in ("", ".")]:
        done = f"{done}/{part}"
        place = trees.resolve(root, done, last=True)
        if not place.exists():
            place.mkdir(mode=0o755)
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


def _put(source: Path, place: Path, root: Path, notes: Notes, owner: tuple[int, int]) -> None:
    about = source.lstat()
    mode = about.st_mode & 0o7777
    if stat.S_ISDIR(about.st_mode):
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            place.unlink()
        place.mkdir(exist_ok=True)
        place.chmod(mode | (0 if os.geteuid() == 0 else 0o700))
        _own(place, root, notes, owner, mode)
        return
    if place.is_dir() and not place.is_symlink():
        raise Refused(f"cannot copy to directory: {trees.place_in_root(root, place)}")
    place.unlink(missing_ok=True)
    if stat.S_ISLNK(about.st_mode):
        place.symlink_to(os.readlink(source))
    elif stat.S_ISREG(about.st_mode):
        shutil.copyfile(source, place)
        place.chmod(mode | (0 if os.geteuid() == 0 else 0o600))
    else:
        return
    _own(place, root, notes, owner, mode)
    os.utime(place, ns=(about.st_atime_ns, about.st_mtime_ns), follow_symlinks=False)
