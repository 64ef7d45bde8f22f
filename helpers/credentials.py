"""The default credentials, loaded once and kept with their token: reading a key takes longer than most calls.

For helpers that speak HTTP themselves. Google's own clients find the same credentials on their own, as lessons show.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Final

import google.auth
from google.auth.transport.requests import AuthorizedSession

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
# Where the default credentials come from: a file, or a folder that has one.
_SOURCES: Final = {"GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": "application_default_credentials.json"}


def default() -> Any:
    """The default credentials; new ones when the environment names another file, or the file has changed.

    Raises google.auth.exceptions.DefaultCredentialsError when there are none.
    """
    return _default(tuple(_state(os.environ.get(name, ""), file) for name, file in _SOURCES.items()))


def session() -> AuthorizedSession:
    """A session that calls with the default credentials, and once more with a new token when its token is refused.

    To be closed by the caller. Raises as `default` does; its calls raise google.auth.exceptions.RefreshError.
    """
    return AuthorizedSession(default())  # type: ignore[no-untyped-call]


def _state(source: str, file: str) -> tuple[str, int]:
    """A source, and when what it names was last written."""
    try:
        return source, (Path(source) / file).stat().st_mtime_ns if source else 0
    except OSError:
        return source, 0


@functools.lru_cache(maxsize=4)
def _default(_sources: tuple[tuple[str, int], ...]) -> Any:
    credentials, _ = google.auth.default(scopes=[SCOPE])
    return credentials
