"""What docker says of a refusal. Pure.

A registry refuses with a status and a sentence. Docker's older image store passes the sentence on; its containerd store
(docker 26.1, seen) and podman (4.3 and 5.4, seen) tell the status alone: the sentence was sent, and nobody can read it.
"""

from __future__ import annotations

import re
from typing import Final

_STATUS: Final = (
    re.compile(r"unexpected status from [A-Z]+ request to \S+: (4\d\d)\b"),
    re.compile(r"invalid status code from registry (4\d\d)\b"),
)
# What part of a registry's sentence comes with which status; any other sentence of these lessons is a 403's.
_SENTENCES: Final = {"immutability": 400, "unauthorized": 401, "not found": 404}
_FORBIDDEN: Final = 403


def keeps_sentence(output: str, wanted: str) -> bool:
    """Whether docker was refused with the status that belongs to the wanted sentence, and told the status alone."""
    status = next((status for part, status in _SENTENCES.items() if part in wanted), _FORBIDDEN)
    return any(int(found) == status for form in _STATUS for found in form.findall(output))
