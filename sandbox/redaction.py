"""Remove tokens and keys from a text before it is kept or shown."""

from __future__ import annotations

import re

_SECRET = re.compile(
    # Each alternative begins at the beginning of a word and reads no letter twice, so the time is linear in the size.
    r"ya29\.[\w.-]+|(?<![\w-])gh[ops]_\w{36,}|(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^\"]*|\"privateKeyData\"\s*:\s*\"[^\"]*"
    # a new version of a secret, however its JSON is spaced
    r"|\"payload\"\s*:\s*\{[^}]*"
    # the registry's own: claims and signature
    r"|(?<![\w-])registry-[\w-]{40,}=*\.[\w-]{20,}=*"
    # ... and the addresses that it signs
    r"|(?<=/downloads/)[\w-]{40,}\.[\w-]{40,}|(?<=/uploads/)[\w-]{40,}\.[\w-]{40,}"
)


def redact(text: str) -> str:
    """Return the text without everything that could be a token or a key."""
    return _SECRET.sub("[redacted]", text)
