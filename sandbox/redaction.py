"""Take tokens and keys out of a text that is kept or shown."""

from __future__ import annotations

import re

_SECRET = re.compile(
    # Each alternative begins where a word does and never looks at a letter twice: a text of any size takes linear time.
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
    """Return the text without anything that could be a token or a key."""
    return _SECRET.sub("[redacted]", text)
