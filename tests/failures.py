"""Answers of 5xx in the logs of the sandboxes that tests started: only those that were asked for may be there.

A 501 is a refusal with a sentence, a 503 a fault that a test planted, or a full queue; what a Cloud Run service answers
is its own, and a 502 says that a remote repository's upstream does not answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_FAILED = re.compile(r"^\S+ \S+ INFO (?P<status>5\d\d) [A-Z]+ (?P<host>[^/\s]*)/")


def in_log(text: str) -> Iterator[str]:
    """Yield the lines of a log that tell of a failure nobody asked for."""
    for line in text.splitlines():
        found = _FAILED.match(line)
        if found is None or found["status"] in ("501", "503") or found["host"].endswith(".run.app"):
            continue
        if found["status"] == "502" and found["host"].endswith(".pkg.dev"):
            continue
        yield line


def under(folder: Path) -> list[str]:
    """Return such lines of every sandbox's log below a folder, with the log's place."""
    logs = sorted(folder.rglob("sandbox.log"))
    return [f"{log.parent.name}: {line}" for log in logs for line in in_log(log.read_text(errors="replace"))]
