"""Unpack an untrusted tar archive into a folder, which none of its entries may leave.

`tarfile`'s own filter needs Python 3.11.4, and it corrects entries that this module refuses: a program's archive needs
neither devices nor names that lead outside, so an archive with any is refused as a whole.
"""

from __future__ import annotations

import errno
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Final

from machine.errors import ArchiveRefused

MOST_BYTES: Final = 4 * 10**9
MOST_FILES: Final = 200_000


def unpack(archive: Path, folder: Path) -> None:
    """Make `folder` and unpack `archive` into it. The caller removes the folder after an error.

    Raises ArchiveRefused for what isn't a tar archive, for one that is cut off, for one that would write outside the
    folder or make anything but files, folders and links within it, for one that is too large, and on a full disk.
    """
    folder.mkdir(parents=True)
    try:
        with tarfile.open(archive, "r|*") as tar:
            _unpack(tar, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise ArchiveRefused(f"{archive.name} is no archive that can be read: {error}.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArchiveRefused(f"The disk is full: {archive.name} doesn't fit into {folder.parent}.") from None
        # The errors of gzip and lzma have no number.
        if error.errno is None:
            raise ArchiveRefused(f"{archive.name} is no archive that can be read: {error}.") from None
        raise ArchiveRefused(f"{archive.name} can't be unpacked: {error}.") from None


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    files: set[PurePosixPath] = set()
    links: set[PurePosixPath] = set()
    size = 0
    for count, member in enumerate(tar, 1):
        name = _inside(member.name)
        size += member.size
        if size > MOST_BYTES or count > MOST_FILES:
            raise ArchiveRefused("The archive is far larger than the program that it should hold.")
        if name in links or any(parent in links for parent in name.parents):
            raise ArchiveRefused(f"{member.name!r} would be written through a link.")
        if name in files:
            raise ArchiveRefused(f"{member.name!r} is in the archive twice.")
        if member.issym():
            _require_inside(name, member.linkname)
            links.add(name)
        elif member.islnk():
            if PurePosixPath(member.linkname) not in files:
                raise ArchiveRefused(f"{member.name!r} links to {member.linkname!r}, which is no file of the archive.")
            files.add(name)
        elif member.isreg():
            files.add(name)
        elif not member.isdir():
            raise ArchiveRefused(f"{member.name!r} is neither a file nor a folder nor a link.")
        _make(tar, member, folder, folder / name)


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, place: Path) -> None:
    """Make one entry. It overwrites no file, belongs to this process's user, and is writable for no other."""
    if member.isdir():
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        place.symlink_to(member.linkname)
    elif member.islnk():
        place.hardlink_to(folder / member.linkname)
    else:
        content = tar.extractfile(member)
        assert content is not None  # noqa: S101 - it is a regular file
        with content, place.open("xb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(member.mode & 0o755 | 0o600)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ArchiveRefused(f"{name!r} would be written outside the folder.")
    return path


def _require_inside(name: PurePosixPath, target: str) -> None:
    """Refuse a symbolic link that leads outside. `..` is accepted at the front alone, where no link precedes it."""
    parts = PurePosixPath(target).parts
    up = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
    if PurePosixPath(target).is_absolute() or ".." in parts[up:] or up >= len(name.parts):
        raise ArchiveRefused(f"{str(name)!r} links to {target!r}, which is outside the folder.")
