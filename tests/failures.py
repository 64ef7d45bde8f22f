"""Find unexpected 5xx responses in the logs of the sandboxes that tests started.

Expected are 501 (not implemented in the sandbox), 503 (a planted fault or a full queue), every response of a Cloud Run
service, and 502 from a remote repository whose upstream doesn't answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_FAILED = re.compile(r"^\S+ \S+ INFO (?P<status>5\d\d) [A-Z]+ (?P<host>[^/\s]*)/")


def in_log(text: str) -> Iterator[str]:
    """Yield the lines of a log with unexpected 5xx responses."""
    for line in text.splitlines():
        found = _FAILED.match(line)
        if found is None or found["status"] in ("501", "503") or found["host"].endswith(".run.app"):
            continue
        if found["status"] == "502" and found["host"].endswith(".pkg.dev"):
            continue
        yield line


def under(folder: Path) -> list[str]:
    """Return these lines of every sandbox's log below a folder, with the name of the log's folder."""
    logs = sorted(folder.rglob("sandbox.log"))
    return [f"{log.parent.name}: {line}" for log in logs for line in in_log(log.read_text(errors="replace"))]
