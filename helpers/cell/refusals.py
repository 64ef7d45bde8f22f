"""Recognise refusals in docker's output. Pure.

A registry refuses with a status and a message. Docker's older image store shows both. Its containerd store (docker
26.1, seen) and podman (4.3 and 5.4, seen) show only the status.
"""

from __future__ import annotations

import re
from typing import Final

_STATUS: Final = (
    re.compile(r"unexpected status from [A-Z]+ request to \S+: (4\d\d)\b"),
    re.compile(r"invalid status code from registry (4\d\d)\b"),
)
# Parts of a registry's messages with their status. All other messages in the notebooks come with 403.
_SENTENCES: Final = {"immutability": 400, "unauthorized": 401, "not found": 404}
_FORBIDDEN: Final = 403


def keeps_sentence(output: str, wanted: str) -> bool:
    """Return whether docker's output shows only the status that belongs to the wanted message."""
    status = next((status for part, status in _SENTENCES.items() if part in wanted), _FORBIDDEN)
    return any(int(found) == status for form in _STATUS for found in form.findall(output))
