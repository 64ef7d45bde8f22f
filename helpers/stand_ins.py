"""What differs from one recording to the next, and what stands for it, numbered by first appearance. Pure.

A record is compared with the next one byte by byte. Digests, UUIDs and the short names of layers are new on every
build, so a visibly artificial value stands in their place: `sha256:0101…01` is the first digest of the record.
"""

from __future__ import annotations

import re
from typing import Final

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_UUID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_TRANSFER: Final = re.compile(r"(?P<layer>[0-9a-f]{12}): (?P<state>[A-Z].*)")
# What docker shows of a layer only when it happens to be slow.
_PASSING: Final = ("Waiting", "Downloading", "Download complete", "Verifying Checksum", "Extracting", "Pushing")
_FIRST: Final = ("Preparing", "Pulling fs layer")


class StandIns:
    """One numbering for a whole recording; the same original gets the same stand-in in every notebook."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {"digest": {}, "uuid": {}, "layer": {}}

    def apply(self, text: str) -> str:
        """The text with stand-ins, and with a transfer's lines in the order of its layers, not of their arrival."""
        text = "".join(self._transfers(text.splitlines(keepends=True)))
        text = _DIGEST.sub(lambda found: f"sha256:{self._number('digest', found[0]):02x}" + self._rest(found[0]), text)
        return _UUID.sub(lambda found: f"00000000-0000-0000-0000-{self._number('uuid', found[0]):012d}", text)

    def _rest(self, digest: str) -> str:
        return f"{self._number('digest', digest):02x}" * 31

    def _number(self, kind: str, original: str) -> int:
        known = self._numbers[kind]
        # A stand-in met again, in a record that is canonical already, stays what it is.
        return known.setdefault(original, len(known) + 1)

    def _transfers(self, lines: list[str]) -> list[str]:
        result: list[str] = []
        block: list[tuple[int, int, str]] = []
        for line in [*lines, ""]:
            found = _TRANSFER.fullmatch(line.rstrip("\n"))
            if found:
                number = self._number("layer", found["layer"])
                if not found["state"].startswith(_PASSING):
                    phase = 0 if found["state"] in _FIRST else 1
                    block.append((phase, number, f"{number:02x}" * 6 + f": {found['state']}\n"))
                continue
            result += [text for _, _, text in sorted(set(block))]
            block = []
            result.append(line)
        return result
