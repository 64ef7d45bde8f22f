"""Replace the parts of an output that differ between recordings by stand-ins in the order of appearance. Pure.

Recordings are compared byte by byte. Digests, UUIDs and the short names of layers are new on every build, so each is
replaced by a stable value of the same form: the first digest of every recording is the SHA-256 of `digest 1`. NOTE
tells the reader.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from typing import Final

# The line below the card of a recorded notebook.
NOTE: Final = "Recorded: ids and digests are replaced by stable ones, and docker's note on its builder is left out."
# The second form is that in addresses.
_DIGEST: Final = re.compile(r"(?P<algorithm>sha256(?::|%3A))(?P<digits>[0-9a-f]{64})")
# The short forms in tables: `sha256:2ccb628c…` and `ml-predictor@2ccb628c`.
_SHORT: Final = re.compile(r"(?P<before>sha256:|@)(?P<digits>[0-9a-f]{8})(?![\w.-])")
_UUID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# gcloud's name for an uploaded source, and the dots that it prints while it waits.
_UPLOAD: Final = re.compile(r"\b\d{10}\.\d{1,6}-[0-9a-f]{32}\b")
_DOTS: Final = re.compile(r"\.+(?=done\b|failed\b)|\.{4,}(?=\s*$)", re.MULTILINE)
# A commit, which depends on the time, whole and in git's short form.
_COMMIT: Final = re.compile(r"\b(?P<short>[0-9a-f]{7})[0-9a-f]{33}\b")
_PUSHED: Final = re.compile(r"\b([0-9a-f]{7})\.\.\.?([0-9a-f]{7})\b")
# Cloud Build's names of operations.
_OPERATION: Final = re.compile(r"(?<=operations/operation-)[0-9a-f]{32}\b")
# Python's warnings when it compiles gcloud's sources, once on a machine.
_COMPILED: Final = re.compile(r"^/\S*/google-cloud-sdk/\S+\.py:\d+: SyntaxWarning: .*\n(?:  .*\n)?", re.MULTILINE)
# The recording's Python, whose version is in docs/recorded_with.json.
_PYTHON: Final = re.compile(r"^(?P<before>Python +)(?P<version>3\.\d+\.\d+)\b", re.MULTILINE)
# A message of only one of docker's builders.
_DEPRECATED: Final = re.compile(r"^DEPRECATED: The legacy builder is deprecated.*\n(?: {12}.*\n)*\n?", re.MULTILINE)
# A cell's line about a builder that not every engine has.
_BUILDKIT: Final = re.compile(r"^BuildKit: .*\n", re.MULTILINE)
# The image's id at the start of a build's output. It depends on the image store.
_IDENTIFIER: Final = re.compile(r"\Asha256:[0-9a-f]{64}$", re.MULTILINE)
# docker tries to mount a layer from a repository of an earlier push, perhaps in another run. 202 refuses that.
_REMEMBERED: Final = re.compile(r"^202  POST +\S+/blobs/uploads/\?from=\S*\n", re.MULTILINE)
# An etag, which depends on the time. Background work may move the sandbox's clock by a second or two.
_ETAG: Final = re.compile(r"(?<=etag: )[A-Za-z0-9+/_-]{11}=")
_TRANSFER: Final = re.compile(r"(?P<layer>[0-9a-f]{12}): (?P<state>[A-Z].*)")
# docker's intermediate states of a layer, which depend on the image store and on timing.
_PASSING: Final = (
    *("Preparing", "Pulling fs layer", "Waiting", "Downloading", "Download complete", "Verifying Checksum"),
    *("Extracting", "Pushing"),
)


class StandIns:
    """The stand-ins of a whole recording. The same original has the same stand-in in every notebook."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {
            kind: {} for kind in ("uuid", "layer", "etag", "upload", "commit", "operation")
        }
        self._digests: dict[str, int] = {}
        self._beginnings: dict[str, int] = {}

    def apply(self, text: str) -> str:
        """Return the text with stand-ins, and with the lines of a transfer in the order of its layers."""
        text = _DEPRECATED.sub("", _BUILDKIT.sub("", _REMEMBERED.sub("", _COMPILED.sub("", text))))
        text = "".join(self._transfers(text.splitlines(keepends=True)))
        text = _IDENTIFIER.sub("sha256:…", text)
        text = _PYTHON.sub(lambda found: found["before"] + "3.x".ljust(len(found["version"])), text)
        text = _DOTS.sub("...", _UPLOAD.sub(lambda found: _upload(self._number("upload", found[0])), text))
        text = _DIGEST.sub(lambda found: found["algorithm"] + _hash("digest", self._digest(found["digits"])), text)
        text = _SHORT.sub(
            lambda found: found["before"] + _hash("digest", self._beginning(found["digits"]))[: len(found["digits"])],
            text,
        )
        text = _OPERATION.sub(lambda found: _hash("operation", self._number("operation", found[0]))[:32], text)
        text = self._commits(text)
        text = _ETAG.sub(lambda found: _etag(self._number("etag", found[0])), text)
        return _UUID.sub(lambda found: _uuid(self._number("uuid", found[0])), text)

    def _commits(self, text: str) -> str:
        """Replace commits that appear whole or in a push, in all their forms."""
        for short in dict.fromkeys(
            short for found in (*_PUSHED.finditer(text), *_COMMIT.finditer(text)) for short in found.groups()
        ):
            self._number("commit", short)
        for short, number in self._numbers["commit"].items():
            whole = _hash("commit", number)[:40]
            text = re.sub(rf"\b{short}[0-9a-f]{{33}}\b", whole, text)
            text = re.sub(rf"\b{short}\b", whole[:7], text)
        return text

    def _digest(self, digits: str) -> int:
        """Return the number of a digest, which is that of its short form if that appeared first."""
        if digits not in self._digests:
            number = self._beginnings.get(digits[:8])
            if number is None or number in self._digests.values():
                number = self._next()
            self._digests[digits] = number
            self._beginnings.setdefault(digits[:8], number)
        return self._digests[digits]

    def _beginning(self, digits: str) -> int:
        if digits not in self._beginnings:
            self._beginnings[digits] = self._next()
        return self._beginnings[digits]

    def _next(self) -> int:
        return len({*self._digests.values(), *self._beginnings.values()}) + 1

    def _number(self, kind: str, original: str) -> int:
        known = self._numbers[kind]
        return known.setdefault(original, len(known) + 1)

    def _transfers(self, lines: list[str]) -> list[str]:
        result: list[str] = []
        block: list[tuple[int, str]] = []
        for line in [*lines, ""]:
            found = _TRANSFER.fullmatch(line.rstrip("\n"))
            if found:
                number = self._number("layer", found["layer"])
                if not found["state"].startswith(_PASSING):
                    block.append((number, f"{_hash('layer', number)[:12]}: {found['state']}\n"))
                continue
            result += [text for _, text in sorted(set(block))]
            block = []
            result.append(line)
        return result


def _hash(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


def _uuid(number: int) -> str:
    return str(uuid.UUID(hex=_hash("uuid", number)[:32], version=4))


def _etag(number: int) -> str:
    """Return an etag of eight bytes that begins as Google's do."""
    return base64.urlsafe_b64encode(b"\x07\x06\x61" + bytes.fromhex(_hash("etag", number)[:10])).decode()


def _upload(number: int) -> str:
    """Return gcloud's name for a source: a time, from 2026-11-02T09:00:00Z, and a UUID without dashes."""
    digits = _hash("upload", number)
    return f"{1793610000 + 60 * number}.{int(digits[-5:], 16) % 1_000_000:06d}-{digits[:32]}"
