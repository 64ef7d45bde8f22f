"""Unpack layers to a root file system, and write the changes of a root file system as a layer.

Layers are untrusted. Paths and links are resolved inside the root, so no file outside it is touched. Sizes and counts
are limited, and devices are left out. An engine that isn't root can't change owners and can't enter folders that it
may not read. It notes owners and modes beside the root instead (`Notes`), for the next layer.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import posixpath
import stat
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from engine.errors import Refused
from engine.store import BAD_ARCHIVE, Header, Layer, Store, remove_tree

UNPACKED_BYTES = 10 * 1024**3
UNPACKED_ENTRIES = 500_000
_LINKS = 64
# The engine writes these files in every root, so they are never part of a layer. The folders themselves are.
OWN_FILES = frozenset({"etc/resolv.conf", "etc/hosts", "etc/hostname"})
OWN_FOLDERS = ("proc/", "sys/", "dev/")

Notes = dict[str, tuple[int, int, int]]


def resolve(root: Path, name: str, *, last: bool) -> Path:
    """Return the file to which a path resolves if `root` is "/". Follow a link at its end only if `last`.

    The path needn't exist. Raises Refused for a loop of links.
    """
    left = [part for part in name.split("/") if part not in ("", ".")]
    place, followed = "", 0
    while left:
        part = left.pop(0)
        if part == "..":
            place = posixpath.dirname(place)
            continue
        target = f"{place}/{part}" if place else part
        full = f"{root}/{target}"
        if (left or last) and os.path.islink(full):
            followed += 1
            if followed > _LINKS:
                raise Refused(f"too many levels of symbolic links: {name}", 400)
            link = os.readlink(full)
            if link.startswith("/"):
                place = ""
            left = [one for one in link.split("/") if one not in ("", ".")] + left
            continue
        place = target
    return root / place if place else root


def clean(name: str) -> str:
    """Return an archive's path without empty parts. Raises Refused if it contains `..`."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"invalid path in archive: {name!r} leads out of it", 400)
    if "\0" in name:
        raise Refused("invalid path in archive: it holds a zero byte", 400)
    return "/".join(parts)


@dataclass
class Unpacker:
    """Unpacks an archive below `root`.

    Attributes:
        whiteouts: whether the archive is a layer, in which a name that begins with `.wh.` deletes a file.
        owner: who owns the files; None for the owners in the archive.
    """

    root: Path
    notes: Notes = field(default_factory=dict)
    whiteouts: bool = True
    owner: tuple[int, int] | None = None
    bytes_left: int = UNPACKED_BYTES
    entries_left: int = UNPACKED_ENTRIES
    _written: set[str] = field(default_factory=set)
    _folders: list[tuple[Path, tarfile.TarInfo]] = field(default_factory=list)

    def unpack(self, archive: tarfile.TarFile) -> None:
        """Unpack every entry. Raises Refused for a hostile archive, or one that exceeds the limits."""
        for member in archive:
            self.entries_left -= 1
            self.bytes_left -= max(member.size, 0)
            if self.entries_left < 0 or self.bytes_left < 0:
                raise Refused("the archive unpacks to more than this engine takes (10 GB, 500,000 entries)")
            try:
                self._one(archive, member)
            except (OverflowError, ValueError) as error:
                # An owner or a time out of range.
                raise Refused(f"invalid entry in archive: {member.name!r}: {error}", 400) from None
        for place, member in reversed(self._folders):
            with contextlib.suppress(OSError, OverflowError, ValueError):
                os.utime(place, (member.mtime, member.mtime), follow_symlinks=False)

    def _one(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = clean(member.name)
        if not name:
            return
        folder, _, base = name.rpartition("/")
        if self.whiteouts and base.startswith(".wh."):
            self._white_out(folder, base)
            return
        if member.isdev():
            return
        parent = resolve(self.root, folder, last=True)
        if not parent.is_dir():
            if parent.exists():
                parent.unlink()
            parent.mkdir(parents=True, mode=0o755)
        place = parent / base
        self._written.add(name)
        if member.isdir():
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                place.unlink()
            place.mkdir(exist_ok=True)
            self._folders.append((place, member))
        else:
            if place.is_dir() and not place.is_symlink():
                remove_tree(place)
            place.unlink(missing_ok=True)
            if member.issym():
                place.symlink_to(member.linkname)
            elif member.islnk():
                target = resolve(self.root, clean(member.linkname), last=False)
                if not target.exists() and not target.is_symlink():
                    raise Refused(f"invalid hard link in archive: {member.name!r} to {member.linkname!r}", 400)
                os.link(target, place, follow_symlinks=False)
                return
            else:
                self._file(archive, member, place)
        self._attributes(place, name, member)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
        source = archive.extractfile(member)
        with place.open("xb") as target:
            while source is not None and (block := source.read(1 << 20)):
                target.write(block)

    def _attributes(self, place: Path, name: str, member: tarfile.TarInfo) -> None:
        uid, gid = self.owner or (member.uid, member.gid)
        mode = member.mode & 0o7777
        if os.geteuid() == 0:
            os.chown(place, uid, gid, follow_symlinks=False)
        if not member.issym():
            least = 0 if os.geteuid() == 0 else (0o700 if member.isdir() else 0o600)
            place.chmod(mode | least)
            if not member.isdir():
                os.utime(place, (member.mtime, member.mtime))
        if os.geteuid() != 0:
            note(self.notes, place_in_root(self.root, place), uid, gid, mode, place)

    def _white_out(self, folder: str, base: str) -> None:
        parent = resolve(self.root, folder, last=True)
        if base == ".wh..wh..opq":
            if parent.is_dir():
                for child in list(parent.iterdir()):
                    if f"{folder}/{child.name}".lstrip("/") not in self._written:
                        self._remove(child)
        elif base[4:] not in ("", ".", ".."):
            self._remove(parent / base[4:])

    def _remove(self, place: Path) -> None:
        if place.is_dir() and not place.is_symlink():
            remove_tree(place)
        else:
            place.unlink(missing_ok=True)
        forget(self.notes, place_in_root(self.root, place))


def place_in_root(root: Path, place: Path) -> str:
    """Return a place's path inside its root."""
    return os.fspath(place)[len(os.fspath(root)) :].lstrip("/")


def note(notes: Notes, name: str, uid: int, gid: int, mode: int, place: Path) -> None:
    """Note a file's owner and mode if they differ from those on the disk."""
    forget(notes, name, below=False)
    if uid or gid or (not place.is_symlink() and mode != stat.S_IMODE(place.lstat().st_mode)):
        notes[name] = (uid, gid, mode)


def forget(notes: Notes, name: str, *, below: bool = True) -> None:
    """Drop the notes of a deleted path."""
    notes.pop(name, None)
    if below:
        for one in [one for one in notes if one.startswith(f"{name}/")]:
            del notes[one]


class _Bounded:
    """A stream that raises Refused beyond a limit: a small blob can unpack to more than the disk holds."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._left = stream, limit

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise Refused("the archive unpacks to more than this engine takes (10 GB)")
        return block


def apply(store: Store, layer: Layer, root: Path, notes: Notes) -> None:
    """Unpack a layer over the files in `root`. Raises Refused for a hostile layer, or one that is no archive."""
    try:
        with gzip.open(store.blob(layer.digest)) as unpacked:
            bounded: Any = _Bounded(unpacked, UNPACKED_BYTES)
            with tarfile.open(fileobj=bounded, mode="r|", tarinfo=Header) as archive:
                Unpacker(root, notes).unpack(archive)
    except BAD_ARCHIVE as error:
        raise Refused(f"failed to register layer: {error}") from None


Seen = dict[str, tuple[int, int, int, int, int, int, str]]


def look(root: Path) -> Seen:
    """Return the attributes by which a change shows: mode, size, time, owner, inode and target, by path."""
    seen: Seen = {}
    start = len(os.fspath(root)) + 1
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            about = os.lstat(path)
            is_folder = stat.S_ISDIR(about.st_mode)
            # Of the times ctime, which a step can't set back.
            target = os.readlink(path) if stat.S_ISLNK(about.st_mode) else ""
            times = (0, 0) if is_folder else (about.st_size, about.st_ctime_ns)
            number = 0 if is_folder else about.st_ino
            seen[path[start:]] = (about.st_mode, *times, about.st_uid, about.st_gid, number, target)
    return seen


def drop_new(root: Path, before: Seen, folders: Sequence[str]) -> None:
    """Delete the new files in some folders of a root."""
    for folder in folders:
        place = resolve(root, folder, last=True)
        for child in list(place.iterdir()) if place.is_dir() else ():
            if place_in_root(root, child) in before:
                continue
            if child.is_dir() and not child.is_symlink():
                remove_tree(child)
            else:
                child.unlink()


def _is_own(name: str) -> bool:
    return name in OWN_FILES or name.startswith(OWN_FOLDERS)


def difference(root: Path, before: Seen, after: Seen, notes: Notes, *, new_owner: tuple[int, int], to: Path) -> int:
    """Write the changes between two results of `look` to a layer's archive, and return the size of its files."""
    touched = {
        name
        for name in after
        if before.get(name) != after[name] and not _is_own(name) and (name in before or f"{name}/" not in OWN_FOLDERS)
    }
    gone = sorted(name for name in before if name not in after and not _is_own(name))
    # With all their parents, as dockerd does.
    above = {str(folder) for name in (*touched, *gone) for folder in PurePosixPath(name).parents}
    changed = sorted(touched | (above & after.keys()))
    links: dict[int, str] = {}
    held = 0
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in changed:
            if stat.S_ISSOCK(after[name][0]):
                continue
            member = archive.gettarinfo(os.fspath(root / name), name)
            if name not in before:
                forget(notes, name, below=False)
            _owner(member, name, notes, new_owner)
            if member.islnk() and (links.get(after[name][5]) is None):
                # Its other name is in an older layer, so this one holds the content.
                member.type, member.linkname, member.size = tarfile.REGTYPE, "", after[name][1]
            if not member.isdir():
                links[after[name][5]] = name
            held += len(member.linkname) if member.issym() else member.size
            if member.isreg():
                with (root / name).open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)
        lost = set(gone)
        for name in gone:
            folder, _, base = name.rpartition("/")
            if folder not in lost:
                white = tarfile.TarInfo(f"{folder}/.wh.{base}".lstrip("/"))
                white.mode = 0o600
                archive.addfile(white)
            forget(notes, name, below=False)
    return held


def _owner(member: tarfile.TarInfo, name: str, notes: Notes, new_owner: tuple[int, int]) -> None:
    member.uname = member.gname = ""
    if os.geteuid() == 0:
        return
    uid, gid, mode = notes.get(name, (*new_owner, member.mode))
    member.uid, member.gid = uid, gid
    least = 0o700 if member.isdir() else 0o600
    # Restore a mode that the engine widened, unless a step has changed it since.
    if (mode | least) == member.mode:
        member.mode = mode
