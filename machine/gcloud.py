"""Find the Google Cloud CLI on the PATH, or download the workbook's own.

Ours is in `.sandbox/gcloud-cli` (or WORKBOOK_GCLOUD_HOME) and on the PATH of the workbook's processes only:

    google-cloud-sdk/     the program; workbook.json in it names the archive it was unpacked from
    downloads/            an archive that isn't complete yet
    lock                  held during an installation, so that a second set-up waits
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from machine import download, gcloud_archives, gcloud_components, locks, unpacking
from machine.errors import ArchiveRefused, MachineError
from machine.gcloud_archives import Archive

FORBID: Final = "WORKBOOK_INSTALL_GCLOUD"
ARCHIVE: Final = "WORKBOOK_GCLOUD_ARCHIVE"
SHA256: Final = "WORKBOOK_GCLOUD_SHA256"
HOME: Final = "WORKBOOK_GCLOUD_HOME"
# Measured with the components that an archive holds, beta and local-extract: 468 MB.
UNPACKED_BYTES: Final = 470 * 10**6
WITHOUT: Final = "Without gcloud its commands are not run, and a run of all notebooks ends with PARTIAL."
_RUN_SECONDS: Final = 300
_NOTE: Final = "workbook.json"


def home() -> Path:
    """Return the folder of the workbook's own gcloud. Absolute; it may not exist yet."""
    chosen = os.environ.get(HOME)
    return Path(chosen).resolve() if chosen else Path(__file__).resolve().parents[1] / ".sandbox" / "gcloud-cli"


def program() -> Path | None:
    """Return our own gcloud, or None where none is installed."""
    path = home() / "google-cloud-sdk" / "bin" / "gcloud"
    return path if path.is_file() else None


def foreign() -> str | None:
    """Return the gcloud on the PATH that isn't ours, or None."""
    found = shutil.which("gcloud")
    return None if found is None or Path(found).is_relative_to(home()) else found


def environment(values: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the PATH with our own gcloud; nothing if another gcloud is on the PATH, or ours isn't installed.

    It is added at the end, so that no program beside it hides one of the user's.
    """
    values = os.environ if values is None else values
    path = values.get("PATH", "")
    own = program()
    if own is None or shutil.which("gcloud", path=path):
        return {}
    changes = {"PATH": f"{path}{os.pathsep}{own.parent}" if path else str(own.parent)}
    return changes if "CLOUDSDK_PYTHON" in values else changes | _python(own.parents[1])


def ensure(echo: Callable[[str], None]) -> bool:
    """Download gcloud if none is on the PATH, and return whether there is one.

    `echo` gets a line with the size before a download, and one if that fails, since the set-up goes on without gcloud.

    Raises MachineError for invalid settings: a missing archive, or an address without a hash.
    """
    chosen = os.environ.get(ARCHIVE, "")
    found = foreign()
    if found:
        if chosen:
            echo(f"{ARCHIVE} isn't used: {found} is on the PATH.")
        for name in gcloud_components.missing(found):
            # It is the user's, so it isn't changed.
            purpose = gcloud_components.PURPOSES[name]
            echo(f"{found} lacks its component {name}: {purpose}. {gcloud_components.ways(name)}")
        return True
    if os.environ.get(FORBID) == "0":
        if program() is None:
            echo(f"No gcloud is on the PATH, and {FORBID}=0 forbids downloading one. {WITHOUT}")
        return program() is not None
    wanted = _given(chosen) if chosen else gcloud_archives.official()
    if wanted is None:
        kind = f"{platform.system()} on {platform.machine()}"
        echo(f"No gcloud is on the PATH, and no archive of it is known for {kind}. {WITHOUT}")
        return False
    try:
        with locks.held(home() / "lock"):
            if _is_stale(wanted, given=bool(chosen)):
                _install(wanted, echo, given=bool(chosen))
            _add_components(echo)
    except ArchiveRefused as error:
        echo(f"gcloud could not be set up. {error} {WITHOUT if program() is None else 'The one from before stays.'}")
    return program() is not None


def _given(chosen: str) -> Archive:
    """Return the archive of WORKBOOK_GCLOUD_ARCHIVE."""
    sha256 = os.environ.get(SHA256, "").lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise MachineError(f"{SHA256} must be a SHA-256: 64 hexadecimal digits.")
    if Archive(chosen, sha256).is_remote:
        if not sha256:
            raise MachineError(f"{ARCHIVE} is an address, so {SHA256} must say what its bytes hash to.")
        return Archive(chosen, sha256)
    path = Path(chosen).expanduser()
    if not path.is_file():
        raise MachineError(f"{ARCHIVE} names {chosen}, which is no file here. Name a .tar.gz of Google's, or unset it.")
    found = download.sha256_of(path)
    if sha256 and found != sha256:
        raise MachineError(f"{chosen} is not the archive that {SHA256} says: its SHA-256 is {found}.")
    return Archive(str(path.resolve()), found)


def _is_stale(wanted: Archive, *, given: bool) -> bool:
    """Return whether the archive has to be installed. One that WORKBOOK_GCLOUD_ARCHIVE once named stays without it."""
    try:
        note = json.loads((home() / "google-cloud-sdk" / _NOTE).read_text())
        was_given, sha256 = bool(note["given"]), str(note["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return sha256 != wanted.sha256 and (given or not was_given)


def _install(wanted: Archive, echo: Callable[[str], None], *, given: bool) -> None:
    """Unpack the archive beside its final place, test that it runs, and then move it there."""
    started = time.monotonic()
    echo(
        f"No gcloud is on the PATH: the Google Cloud CLI goes into {home()}, "
        f"{download.megabytes(UNPACKED_BYTES)} on disk, under Google's terms (https://cloud.google.com/terms). "
        f"{FORBID}=0 forbids it."
    )
    for left in home().glob("unpacking-*"):
        shutil.rmtree(left)
    downloads = home() / "downloads"
    archive = Path(wanted.place)
    if wanted.is_remote:
        name = f"{wanted.sha256[:16]}.tar.gz"
        archive = download.fetch(wanted.place, wanted.sha256, downloads / name, echo, room=UNPACKED_BYTES)
    work = home() / f"unpacking-{os.getpid()}"
    try:
        unpacking.unpack(archive, work)
        root = work / "google-cloud-sdk"
        if not (root / "bin" / "gcloud").is_file():
            raise ArchiveRefused(f"{wanted.place} holds no google-cloud-sdk/bin/gcloud.")
        reason = _run(root, ["version"])
        if reason:
            raise ArchiveRefused(f"The gcloud of {wanted.place} doesn't run here: {reason}.")
        (root / _NOTE).write_text(json.dumps({"sha256": wanted.sha256, "given": given}) + "\n")
        final = home() / "google-cloud-sdk"
        if final.exists():
            final.rename(work / "before")
        root.rename(final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(downloads, ignore_errors=True)
    echo(f"gcloud {version()} is ready ({time.monotonic() - started:.0f} s). It is on the workbook's own PATH only.")


def version() -> str:
    """Return the version of our own gcloud, or "" without one."""
    path = home() / "google-cloud-sdk" / "VERSION"
    return path.read_text().strip() if path.is_file() else ""


def _add_components(echo: Callable[[str], None]) -> None:
    root = home() / "google-cloud-sdk"
    wanted = gcloud_components.missing(str(root / "bin" / "gcloud"))
    if not wanted:
        return
    for name in wanted:
        echo(f"Adding gcloud's component {name}: {gcloud_components.PURPOSES[name]} to download.")
    reason = _run(root, ["components", "install", *wanted])
    if reason:
        names = " and ".join(wanted)
        echo(f"{names} could not be added ({reason}). Their commands are not run without it; set up again.")


def _run(root: Path, arguments: list[str]) -> str:
    """Run a command of that gcloud without the user's configuration. Return "" if it worked, else the reason."""
    configuration = root / ".workbook-configuration"
    values = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDSDK_")}
    values |= {"CLOUDSDK_CONFIG": str(configuration), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"} | _python(root)
    if "WORKBOOK_HOME" in os.environ:
        # In a shell of the sandbox, the proxy answers in Google's place.
        proxy = os.environ.get("WORKBOOK_UPSTREAM_PROXY", "")
        values |= {"HTTPS_PROXY": proxy, "https_proxy": proxy}
    try:
        done = subprocess.run(
            [root / "bin" / "gcloud", *arguments, "--quiet"],
            env=values,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_RUN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {_RUN_SECONDS} s"
    except OSError as error:
        return error.strerror or str(error)
    finally:
        shutil.rmtree(configuration, ignore_errors=True)
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return said[-1].rstrip(".") if said else f"exit status {done.returncode}"


def _python(root: Path) -> dict[str, str]:
    """Return the Python for gcloud: the one in its archive, which exists for x86_64 alone, else the workbook's."""
    bundled = root / "platform" / "bundledpythonunix" / "bin" / "python3"
    return {} if bundled.is_file() and platform.machine() == "x86_64" else {"CLOUDSDK_PYTHON": sys.executable}
