"""Check an uploaded source archive, and rewrite it as a tar that is safe to unpack.

The archive is never unpacked on this machine. The engine unpacks it inside the build's workspace.
"""

from __future__ import annotations

import lzma
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

MAX_FILES = 100_000
MAX_BYTES = 1024 * 1024 * 1024
_MAX_HEADER = 1024 * 1024  # bytes of a name or of pax records, which tarfile reads whole


class BadSource(Exception):
    """The archive is not a tar file, is too large, or would write outside the workspace. The message says which."""


class _Header(tarfile.TarInfo):
    """A header that checks the size of an extension before reading it."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extended = (
            *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE),
            *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
        )
        if self.type in extended and self.size > _MAX_HEADER:
            raise BadSource(f"the source has a header of {self.size} bytes; {_MAX_HEADER} are the most")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


def clean(archive: Path) -> IO[bytes]:
    """Return the checked archive as an uncompressed tar in a temporary file, which the caller closes.

    Owners become root.

    Raises:
        BadSource: for device files and pipes, for paths and links out of the folder, and for sizes over the limits.
    """
    out = tempfile.TemporaryFile(dir=archive.parent)  # noqa: SIM115 - the caller closes it
    total = 0
    try:
        with (
            tarfile.open(archive, "r:*", tarinfo=_Header) as source,
            tarfile.open(fileobj=out, mode="w") as target,
        ):
            for number, member in enumerate(source):
                if number >= MAX_FILES:
                    raise BadSource(f"the source has more than {MAX_FILES} files")
                total += member.size
                if total > MAX_BYTES:
                    raise BadSource(f"the source unpacks to more than {MAX_BYTES} bytes")
                _check(member)
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                member.mode &= 0o777
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    except BaseException as error:
        out.close()
        if isinstance(error, tarfile.TarError | EOFError | OSError | zlib.error | lzma.LZMAError):
            raise BadSource(f"the source is no tar archive: {error}") from None
        raise
    out.seek(0)
    return out


def _check(member: tarfile.TarInfo) -> None:
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise BadSource(f"the source holds {member.name[:200]!r}, which is neither file, folder nor link")
    _inside(member.name, member.name)
    if member.issym():
        _inside(str(PurePosixPath(member.name).parent / member.linkname), member.name, absolute=member.linkname)
    elif member.islnk():
        _inside(member.linkname, member.name)


def _inside(path: str, shown: str, *, absolute: str = "") -> None:
    depth = 0
    if path.startswith("/") or absolute.startswith("/"):
        raise BadSource(f"the source holds {shown[:200]!r}, which leads out of the workspace")
    for part in PurePosixPath(path).parts:
        depth += -1 if part == ".." else 0 if part == "." else 1
        if depth < 0:
            raise BadSource(f"the source holds {shown[:200]!r}, which leads out of the workspace")
