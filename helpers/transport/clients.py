"""The credentials, the session and the client with which helpers call Google, each created once and kept.

Reading a key and the certificates takes longer than most calls, and a kept connection needs no new handshake.
Notebooks create their own clients, so that readers see how.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import google.auth
from google.auth.transport.requests import AuthorizedSession
from google.cloud import artifactregistry_v1

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
# The default credentials come from a file, or from a file in a folder.
_SOURCES: Final = {"GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": "application_default_credentials.json"}

Made = TypeVar("Made")


def kept(make: Callable[[], Made]) -> Callable[[], Made]:
    """Keep the result of `make` until the environment names other credentials, or their file has changed.

    All threads share the result, so it must not be closed.
    """
    # Let one thread create it while the others wait.
    alone = threading.Lock()

    @functools.lru_cache(maxsize=2)
    def made(_sources: tuple[tuple[str, int], ...]) -> Made:
        return make()

    @functools.wraps(make)
    def current() -> Made:
        with alone:
            return made(tuple(_state(os.environ.get(name, ""), file) for name, file in _SOURCES.items()))

    return current


def _state(source: str, file: str) -> tuple[str, int]:
    """Return a source, and when its file was last written."""
    try:
        return source, (Path(source) / file).stat().st_mtime_ns if source else 0
    except OSError:
        return source, 0


@kept
def default_credentials() -> Any:
    """Return the default credentials. Raises google.auth.exceptions.DefaultCredentialsError when there are none."""
    credentials, _ = google.auth.default(scopes=[SCOPE])
    return credentials


@kept
def session() -> AuthorizedSession:
    """Return a session with the default credentials, which retries once with a new token after a refusal.

    Raises as `default_credentials`. Calls raise google.auth.exceptions.RefreshError.
    """
    return AuthorizedSession(default_credentials())  # type: ignore[no-untyped-call]


@kept
def artifact_registry() -> artifactregistry_v1.ArtifactRegistryClient:
    """Return Google's client over REST, which makes the requests that the notebooks show."""
    return artifactregistry_v1.ArtifactRegistryClient(transport="rest")
