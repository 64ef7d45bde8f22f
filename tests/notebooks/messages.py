"""Find the source of each message that a notebook's "What could go wrong" quotes.

Sources are texts in the code of the sandbox, the helpers, the sample app and gcloud, stored outputs of cells, the
machine's kernel, and docker, which prints the registry's error codes as words: MANIFEST_UNKNOWN as `manifest unknown`.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sandbox.cloud_build import matching
from tests.notebooks.stored import said

ROOT = Path(__file__).parents[2]
# Marks where a program inserts a value.
GAP = "\x00"
_VALUE = re.compile(r"…|(?<=')(?:[\w.]+\.[\w.]+|[\w/-]*…)(?=')|(?<=\")(?:[\w./-]+|[\w./-]*…[\w./-]*)(?=\")")


def rows(book: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the cell id and the text of each quoted message in the tables of a notebook."""
    for cell in book["cells"]:
        table = cell["source"].partition("## What could go wrong")[2].partition("\n## ")[0]
        for first in re.findall(r"^\| (.*?) \| .* \|$", table, re.MULTILINE):
            # Quotations after other words, as in "from `tags add`", are no messages.
            quoted = re.match(r"(?:`[^`]+`(?:, | or |$)?)*", first)
            yield from ((cell["id"], one) for one in re.findall(r"`([^`]+)`", quoted[0] if quoted else ""))


def unsaid(book: dict[str, Any], sayings: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Yield the cell id and the fault of each message that matches no text of any source in `sayings`."""
    for cell, message in rows(book):
        # gcloud and docker print the error's code before the server's text.
        code, _, rest = message.partition(": ")
        heard = [message, rest] if rest and code in codes() else [message]
        if not any(says(one, text) for one in heard for texts in sayings.values() for text in texts):
            yield cell, f"`{message}` is said neither by {', '.join(sayings)}"


def says(message: str, text: str) -> bool:
    """Return whether a text can contain a message, whatever is inserted at its gaps."""
    parts = [part for part in _VALUE.sub(GAP, message).split(GAP) if part.strip(" .:'\"")]
    place = 0
    for part in parts:
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return bool(parts)


@cache
def codes() -> frozenset[str]:
    """Return the error codes in Google's form and in docker's words."""
    found = {one for text in _texts(ROOT / "sandbox") for one in re.findall(r"^[A-Z]+(?:_[A-Z]+)*$", text)}
    return frozenset(found | {one.lower().replace("_", " ") for one in found})


@cache
def sayings() -> dict[str, tuple[str, ...]]:
    """Return the texts of each source."""
    found = {
        "the sandbox": tuple(_texts(ROOT / "sandbox")),
        "the helpers": (*_texts(ROOT / "helpers"), *_texts(ROOT / "cli")),
        "the sample app": tuple(_texts(ROOT / "sample_app")),
        "a recorded cell": tuple(_recorded()),
        "docker": tuple(codes()),
        "the pipeline": ((ROOT / "cloudbuild.yaml").read_text(encoding="utf-8"),),
        "RE2": tuple(_re2("(?!x)")),
        # The kernel's error for a program of another processor, in lower case as the shell prints it.
        "the kernel": (os.strerror(errno.ENOEXEC).lower(),),
    }
    gcloud = shutil.which("gcloud")
    if gcloud:
        here = next(place for place in Path(gcloud).resolve().parents if (place / "lib" / "googlecloudsdk").is_dir())
        found["gcloud"] = tuple(
            text
            for name in ("command_lib/artifacts", "core/util", "core/yaml.py")
            for text in _texts(here / "lib" / "googlecloudsdk" / name)
        )
        extractor = here / "bin" / "local-extract"
        if extractor.is_file():
            # A Go program contains its texts verbatim.
            told = re.findall(rb"could not [ -~]{10,100}", extractor.read_bytes())
            found["gcloud's extractor"] = tuple(text.decode() for text in told)
    return found


def _re2(pattern: str) -> Iterator[str]:
    """Yield RE2's message about an invalid pattern."""
    try:
        matching.compile_pattern(pattern)
    except matching.BadPattern as error:
        yield str(error)


def _texts(place: Path) -> Iterator[str]:
    """Yield the texts in Python sources, with a gap for each inserted value."""
    for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(one.value) if isinstance(one, ast.Constant) else GAP for one in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"\{[\w.!\[\]]*\}|%[sdr]", GAP, node.value)


def _recorded() -> Iterator[str]:
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            yield from (said(one) for one in cell.get("outputs", []))
