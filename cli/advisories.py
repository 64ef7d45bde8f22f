"""`workbook advisories refresh`: use OSV's current archives instead of the workbook's snapshot.

Archives: https://google.github.io/osv.dev/data/, one zip file of JSON records for each ecosystem. Records of other
ecosystems and descriptions are left out.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import requests

from helpers import target

ARCHIVES: Final = "https://storage.googleapis.com/osv-vulnerabilities"
# The snapshot's files, each with the archive's ecosystem and the ecosystem's name in relevant records.
_FILES: Final = {"pypi.json": ("PyPI", "PyPI"), "debian.json": ("Debian", "Debian:12")}
_ARCHIVE_LIMIT: Final = 1 << 30
_RECORD_LIMIT: Final = 4 << 20
_KEPT: Final = ("id", "aliases", "published", "summary", "severity")


class ArchiveBroken(ValueError):
    """The download isn't an archive of OSV. The message says why."""


def refresh(home: Path, url: str, say: Callable[[str], Any], complain: Callable[[str], Any]) -> int:
    """Download the advisories into the world's folder, and return 0, or 1 if that fails. No file is left incomplete."""
    folder = home / "advisories"
    for name, (archive, ecosystem) in _FILES.items():
        source = f"{url}/{archive}/all.zip"
        try:
            with TemporaryFile() as file:
                _fetch(source, file)
                found = list(records(file, ecosystem))
        except (requests.RequestException, ArchiveBroken) as error:
            complain(f"{source} could not be had: {error}. The scans go on with the snapshot that is there.")
            return 1
        if not found:
            complain(f"{source} has nothing about {ecosystem}. The scans go on with the snapshot that is there.")
            return 1
        body = {"taken": f"{datetime.now(UTC):%Y-%m-%d}", "source": source, "advisories": found}
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.part"
        part.write_text(json.dumps(body), encoding="utf-8")
        part.rename(folder / name)
        say(f"{ecosystem}: {len(found)} advisories, of today.")
    say("Images that are pushed from now on are scanned with them. Delete the folder to go back: " + str(folder))
    return 0


def _fetch(source: str, file: IO[bytes]) -> None:
    upstream = target.upstream_proxy()
    with requests.Session() as opened:
        # Without the sandbox's proxy, which would not reach the real host.
        opened.trust_env = False
        opened.proxies = {"https": upstream} if upstream else {}
        opened.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
        with opened.get(source, stream=True, timeout=60) as answer:
            _copy(answer, file)


def _copy(answer: requests.Response, file: IO[bytes]) -> None:
    answer.raise_for_status()
    total = 0
    for chunk in answer.iter_content(1 << 20):
        total += len(chunk)
        if total > _ARCHIVE_LIMIT:
            raise ArchiveBroken(f"it has more than {_ARCHIVE_LIMIT} bytes")
        file.write(chunk)
    file.seek(0)


def records(file: IO[bytes], ecosystem: str) -> Iterator[dict[str, Any]]:
    """Yield an archive's records of packages of the ecosystem by identifier, without descriptions.

    Raises ArchiveBroken.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in sorted(archive.infolist(), key=lambda one: one.filename):
                if entry.filename.endswith(".json") and entry.file_size <= _RECORD_LIMIT:
                    record = json.loads(archive.read(entry))
                    affected = [_facts(one) for one in record.get("affected", []) if _ecosystem(one) == ecosystem]
                    if affected and not record.get("withdrawn"):
                        kept = {key: record[key] for key in _KEPT if record.get(key)}
                        link = {"type": "ADVISORY", "url": f"https://osv.dev/vulnerability/{record['id']}"}
                        yield {**kept, "affected": affected, "references": [link]}
    except (zipfile.BadZipFile, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ArchiveBroken(f"it is no archive of OSV records ({error})") from None


def _ecosystem(affected: Any) -> str:
    name: str = affected["package"]["ecosystem"]
    return name


def _facts(affected: dict[str, Any]) -> dict[str, Any]:
    ranges = [
        {"type": one["type"], "events": one["events"]}
        for one in affected.get("ranges", [])
        if one.get("type") in ("ECOSYSTEM", "SEMVER")
    ]
    facts: dict[str, Any] = {"package": {key: affected["package"][key] for key in ("ecosystem", "name")}}
    facts["ranges"] = ranges
    if not ranges and affected.get("versions"):
        facts["versions"] = affected["versions"]
    urgency = (affected.get("ecosystem_specific") or {}).get("urgency")
    return facts | ({"ecosystem_specific": {"urgency": urgency}} if urgency else {})
