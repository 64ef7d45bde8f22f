"""Parse the paths of a Maven repository, and write the metadata that a build reads. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

CHECKSUMS = ("md5", "sha1", "sha256", "sha512")
METADATA = "maven-metadata.xml"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_SNAPSHOT = "-SNAPSHOT"
_STAMPED = re.compile(r"(?P<stamp>\d{8}\.\d{6})-(?P<build>\d{1,9})(?:-(?P<classifier>[^.]+))?\.(?P<extension>.+)")


@dataclass(frozen=True)
class Place:
    """A file, a checksum or metadata that a path names.

    Attributes:
        path: without a checksum's ending.
        group: with dots.
        version: empty for the metadata of all versions.
        file: the last part of the path, without a checksum's ending.
        checksum: the algorithm whose checksum is asked for, or empty.
    """

    path: str
    group: str
    artifact: str
    version: str
    file: str
    checksum: str = ""

    @property
    def package(self) -> str:
        """`com.example:model`, as Artifact Registry names it."""
        return f"{self.group}:{self.artifact}"

    @property
    def is_metadata(self) -> bool:
        """Whether it is the list of versions, or of a snapshot's files."""
        return self.file == METADATA

    @property
    def is_snapshot(self) -> bool:
        """Whether the version may still change."""
        return self.version.endswith(_SNAPSHOT)


def parse(path: str) -> Place | None:
    """Parse a path such as `com/example/model/1.0/model-1.0.jar`; None if no Maven repository has such a path."""
    parts = path.strip("/").split("/")
    if len(parts) < 3 or not all(_PART.fullmatch(part) for part in parts):
        return None
    checksum = next((one for one in CHECKSUMS if parts[-1].endswith(f".{one}")), "")
    file = parts[-1].removesuffix(f".{checksum}")
    whole = "/".join([*parts[:-1], file])
    if file == METADATA and not parts[-2].endswith(_SNAPSHOT):
        return Place(whole, ".".join(parts[:-2]), parts[-2], "", file, checksum)
    if len(parts) < 4:
        return None
    found = Place(whole, ".".join(parts[:-3]), parts[-3], parts[-2], file, checksum)
    base = f"{found.artifact}-{found.version.removesuffix(_SNAPSHOT)}"
    return found if found.is_metadata or file.startswith(base) else None


def of_versions(place: Place, versions: Iterable[tuple[str, str]]) -> str:
    """Return the metadata of an artifact.

    Args:
        versions: each with the RFC 3339 time of its upload, oldest first.
    """
    known = list(versions)
    releases = [name for name, _ in known if not name.endswith(_SNAPSHOT)]
    release = f"    <release>{escape(releases[-1])}</release>\n" if releases else ""
    listed = "".join(f"      <version>{escape(name)}</version>\n" for name, _ in known)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<metadata>\n'
        f"  <groupId>{escape(place.group)}</groupId>\n  <artifactId>{escape(place.artifact)}</artifactId>\n"
        f"  <versioning>\n    <latest>{escape(known[-1][0])}</latest>\n{release}"
        f"    <versions>\n{listed}    </versions>\n"
        f"    <lastUpdated>{_compact(known[-1][1])}</lastUpdated>\n  </versioning>\n</metadata>\n"
    )


def of_snapshot(place: Place, files: Iterable[str]) -> str | None:
    """Return the metadata of a snapshot from the names of its files; None if no name has a time in it."""
    base = f"{place.artifact}-{place.version.removesuffix(_SNAPSHOT)}-"
    matches = [match for file in files if (match := _STAMPED.fullmatch(file.removeprefix(base)))]
    if not matches:
        return None
    newest: dict[tuple[str, str], re.Match[str]] = {}
    for match in sorted(matches, key=lambda one: (one["stamp"], int(one["build"]))):
        newest[match["classifier"] or "", match["extension"]] = match
    last = max(newest.values(), key=lambda one: (one["stamp"], int(one["build"])))
    listed = "".join(_entry(place, match) for match in newest.values())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<metadata modelVersion="1.1.0">\n'
        f"  <groupId>{escape(place.group)}</groupId>\n  <artifactId>{escape(place.artifact)}</artifactId>\n"
        f"  <version>{escape(place.version)}</version>\n  <versioning>\n    <snapshot>\n"
        f"      <timestamp>{last['stamp']}</timestamp>\n      <buildNumber>{last['build']}</buildNumber>\n"
        f"    </snapshot>\n    <lastUpdated>{last['stamp'].replace('.', '')}</lastUpdated>\n"
        f"    <snapshotVersions>\n{listed}    </snapshotVersions>\n  </versioning>\n</metadata>\n"
    )


def _entry(place: Place, match: re.Match[str]) -> str:
    classifier = f"        <classifier>{escape(match['classifier'])}</classifier>\n" if match["classifier"] else ""
    value = f"{place.version.removesuffix(_SNAPSHOT)}-{match['stamp']}-{match['build']}"
    return (
        f"      <snapshotVersion>\n{classifier}        <extension>{escape(match['extension'])}</extension>\n"
        f"        <value>{escape(value)}</value>\n"
        f"        <updated>{match['stamp'].replace('.', '')}</updated>\n      </snapshotVersion>\n"
    )


def read(content: bytes) -> ET.Element:
    """Parse metadata that a client or an upstream wrote.

    Raises:
        xml.etree.ElementTree.ParseError: for invalid XML, and for declarations, which could define entities.
    """
    if b"<!" in content:
        raise ET.ParseError
    return ET.fromstring(content)  # noqa: S314 - no declarations, so no entities


def merged(found: Sequence[str]) -> str | None:
    """Return the metadata of several repositories as one; a snapshot's from the first, as it names its own files."""
    roots = [read(one.encode()) for one in found]
    if len(found) < 2 or roots[0].find("version") is not None:
        return found[0] if found else None
    versions: dict[str, str] = {}
    for root in reversed(roots):
        moment = root.findtext("versioning/lastUpdated") or ""
        versions |= {one.text: moment for one in root.iterfind("versioning/versions/version") if one.text}
    group, artifact = (roots[0].findtext(name) or "" for name in ("groupId", "artifactId"))
    return of_versions(Place("", group, artifact, "", METADATA), versions.items()) if versions else found[0]


def _compact(moment: str) -> str:
    return re.sub(r"\D", "", moment)[:14]
