"""Download a file whose SHA-256 is known. A download that was cut off is resumed, and a wrong file is deleted."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import requests

from machine.errors import ArchiveRefused

ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 1.0
TIMEOUTS: Final = (10, 30)  # seconds to connect, and between two pieces
# A piece that a broken connection cuts short is lost.
_PIECE: Final = 1 << 16
_STEPS: Final = 5


def fetch(url: str, sha256: str, target: Path, echo: Callable[[str], None], *, room: int = 0) -> Path:
    """Download `url` to `target`, unless it is there already, and return `target`.

    If the connection breaks, the bytes so far stay in `target`.part, and this call or the next one resumes there.
    `echo` gets the size before the first byte is written. `room` is how much of the disk must stay free, in bytes.

    Raises ArchiveRefused if it can't be downloaded, if the disk is too full, and if its hash is wrong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    if not target.exists():
        try:
            with _session() as session:
                _complete(session, url, part, echo, room)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # Kept, it would keep the disk full.
            part.unlink(missing_ok=True)
            raise ArchiveRefused(f"The disk is full: {url} doesn't fit into {target.parent}.") from None
        part.replace(target)
    found = sha256_of(target)
    if found != sha256:
        target.unlink()
        raise ArchiveRefused(
            f"What {url} gave is not the archive that was meant: its SHA-256 is {found}, and not {sha256}. "
            "It was deleted, nothing of it was run."
        )
    return target


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def megabytes(count: int) -> str:
    """Return a number of bytes as `104 MB`."""
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _session() -> requests.Session:
    """Return a session with the user's own proxy, even in a shell of the sandbox, whose proxy is the sandbox."""
    session = requests.Session()
    if "WORKBOOK_HOME" in os.environ:
        session.trust_env = False
        upstream = os.environ.get("WORKBOOK_UPSTREAM_PROXY", "")
        if upstream:
            session.proxies = {"http": upstream, "https": upstream}
    return session


def _complete(session: requests.Session, url: str, part: Path, echo: Callable[[str], None], room: int) -> None:
    """Download the rest of `part`. Reconnect as long as each connection brings some bytes."""
    announced = False
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        had = _size(part)
        try:
            with _ask(session, url, had) as answer:
                if answer.status_code == requests.codes.requested_range_not_satisfiable:
                    # Longer than the file is, so it is no part of it.
                    part.unlink()
                    continue
                had = had if answer.status_code == requests.codes.partial_content else 0
                total = had + int(answer.headers.get("Content-Length", 0))
                _require_room(part, total - had + room)
                if not announced:
                    resumed = f", of which {megabytes(had)} are here already" if had else ""
                    echo(f"Downloading {url}: {megabytes(total)}{resumed}.")
                    announced = True
                _write(answer, part, had, total, echo)
            if _size(part) >= total:
                return
            reason = "the connection ended early"
        except requests.RequestException as error:
            reason = _brief(error)
            if _size(part) <= had and attempt:
                break
    raise ArchiveRefused(
        f"{url} can't be downloaded: {reason}. {megabytes(_size(part))} of it are kept; the next set-up goes on there."
        if _size(part)
        else f"{url} can't be downloaded: {reason}."
    )


def _ask(session: requests.Session, url: str, had: int) -> requests.Response:
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={had}-"} if had else {})
    answer = session.get(url, headers=headers, stream=True, timeout=TIMEOUTS)
    fine = (requests.codes.ok, requests.codes.partial_content, requests.codes.requested_range_not_satisfiable)
    if answer.status_code not in fine or (answer.status_code == fine[2] and not had):
        answer.close()
        raise ArchiveRefused(f"{url} can't be downloaded: the server answers {answer.status_code} {answer.reason}.")
    if answer.status_code == fine[1] and not answer.headers.get("Content-Range", "").startswith(f"bytes {had}-"):
        answer.close()
        raise ArchiveRefused(f"{url} can't be downloaded: the server sent another part of it than the one asked for.")
    return answer


def _write(answer: requests.Response, part: Path, had: int, total: int, echo: Callable[[str], None]) -> None:
    step = max(total // _STEPS, 1)
    with part.open("ab" if had else "wb") as file:
        for piece in answer.iter_content(_PIECE):
            file.write(piece)
            if (had + len(piece)) // step > had // step and had + len(piece) < total and total > 10**7:
                echo(f"  {megabytes(had + len(piece))} of {megabytes(total)}")
            had += len(piece)


def _require_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise ArchiveRefused(f"{part.parent} has {megabytes(free)} of free disk, and {megabytes(needed)} are needed.")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _brief(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate isn't trusted here"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy doesn't let it through"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended early"
    if isinstance(error, requests.exceptions.ConnectionError):
        return "the server can't be reached"
    return str(error)
