"""Root file systems: layers laid out as a folder, and what changed in a folder written as a layer.

A layer is written by a stranger. Each path is looked up inside the root, its links included, so nothing outside is
touched; sizes and numbers are bounded, and devices are left out. A process without root can't give files away, nor
enter folders that it may not read: owner and mode are then noted beside the root (`Notes`), for the next layer.
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
# The engine's own in every root, never a layer's. Folders themselves stay.
OWN_FILES = frozenset({"etc/resolv.conf", "etc/hosts", "etc/hostname"})
OWN_FOLDERS = ("proc/", "sys/", "dev/")

Notes = dict[str, tuple[int, int, int]]


def resolve(root: Path, name: str, *, last: bool) -> Path:
    """Return where a path leads inside `root`, following links as if `root` were "/"; the last one if `last`.

    A part that isn't there stays as it is. Raises Refused for a chain of links without an end.
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
    """Return an archive's path without its slashes at the ends. Raises Refused for one that climbs out."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"invalid path in archive: {name!r} leads out of it", 400)
    if "\0" in name:
        raise Refused("invalid path in archive: it holds a zero byte", 400)
    return "/".join(parts)


@dataclass
class Unpacker:
    """One archive being laid out under `root`.

    Attributes:
        whiteouts: whether the archive is a layer, in which a `.wh.` name removes what lies below.
        owner: what everything belongs to, instead of what the archive says.
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
        """Lay out every entry. Raises Refused for what is hostile, or larger than the bounds."""
        for member in archive:
            self.entries_left -= 1
            self.bytes_left -= max(member.size, 0)
            if self.entries_left < 0 or self.bytes_left < 0:
                raise Refused("the archive unpacks to more than this engine takes (10 GB, 500,000 entries)")
            try:
                self._one(archive, member)
            except (OverflowError, ValueError) as error:
                # An owner or a time that no file can have.
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
    """Note owner and mode where the disk can't say them."""
    forget(notes, name, below=False)
    if uid or gid or (not place.is_symlink() and mode != stat.S_IMODE(place.lstat().st_mode)):
        notes[name] = (uid, gid, mode)


def forget(notes: Notes, name: str, *, below: bool = True) -> None:
    """Forget the notes of a path that is gone."""
    notes.pop(name, None)
    if below:
        for one in [one for one in notes if one.startswith(f"{name}/")]:
            del notes[one]


class _Bounded:
    """A stream that refuses to give more than it may: a small blob can unpack to a disk's size."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._left = stream, limit

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise Refused("the archive unpacks to more than this engine takes (10 GB)")
        return block


def apply(store: Store, layer: Layer, root: Path, notes: Notes) -> None:
    """Lay a layer over what is in `root`. Raises Refused for one that is hostile or no archive."""
    try:
        with gzip.open(store.blob(layer.digest)) as unpacked:
            bounded: Any = _Bounded(unpacked, UNPACKED_BYTES)
            with tarfile.open(fileobj=bounded, mode="r|", tarinfo=Header) as archive:
                Unpacker(root, notes).unpack(archive)
    except BAD_ARCHIVE as error:
        raise Refused(f"failed to register layer: {error}") from None


Seen = dict[str, tuple[int, int, int, int, int, int, str]]


def look(root: Path) -> Seen:
    """Return what is in a root, path to what tells a change: mode, size, times, owner, number, target."""
    seen: Seen = {}
    start = len(os.fspath(root)) + 1
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            about = os.lstat(path)
            is_folder = stat.S_ISDIR(about.st_mode)
            # Of the times the one that a step can't set back.
            target = os.readlink(path) if stat.S_ISLNK(about.st_mode) else ""
            times = (0, 0) if is_folder else (about.st_size, about.st_ctime_ns)
            number = 0 if is_folder else about.st_ino
            seen[path[start:]] = (about.st_mode, *times, about.st_uid, about.st_gid, number, target)
    return seen


def drop_new(root: Path, before: Seen, folders: Sequence[str]) -> None:
    """Delete what is new below some folders of a root."""
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
    """Write what changed between two looks to `to`, as a layer's archive; return how many bytes its files hold."""
    touched = {
        name
        for name in after
        if before.get(name) != after[name] and not _is_own(name) and (name in before or f"{name}/" not in OWN_FOLDERS)
    }
    gone = sorted(name for name in before if name not in after and not _is_own(name))
    # With all folders above them, as dockerd writes it.
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
                # Its other name is in an older layer: this one then carries the content.
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
    # A mode that a step changed since is the step's; one that we widened is the layer's.
    if (mode | least) == member.mode:
        member.mode = mode
