"""What helpers call Google with, made once and kept: the default credentials, a session, Artifact Registry's client.

Reading a key and the certificates takes longer than most calls, and a kept connection needs no new handshake. Lessons
make their own clients, in plain sight.
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
# Where the default credentials come from: a file, or a folder that has one.
_SOURCES: Final = {"GOOGLE_APPLICATION_CREDENTIALS": "", "CLOUDSDK_CONFIG": "application_default_credentials.json"}

Made = TypeVar("Made")


def kept(make: Callable[[], Made]) -> Callable[[], Made]:
    """Keep what `make` gave until the environment names other credentials, or their file has changed.

    What is kept is everybody's, also other threads': nobody closes it.
    """
    # Threads that come first at once: one makes it, and the others wait.
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
    """Return a source, and when what it names was last written."""
    try:
        return source, (Path(source) / file).stat().st_mtime_ns if source else 0
    except OSError:
        return source, 0


@kept
def default_credentials() -> Any:
    """Return the default credentials, for all of Google Cloud.

    Raises google.auth.exceptions.DefaultCredentialsError when there are none.
    """
    credentials, _ = google.auth.default(scopes=[SCOPE])
    return credentials


@kept
def session() -> AuthorizedSession:
    """Return a session that calls with the default credentials.

    When its token is refused, it calls once more with a new one.

    Raises as `default_credentials` does; its calls raise google.auth.exceptions.RefreshError.
    """
    return AuthorizedSession(default_credentials())  # type: ignore[no-untyped-call]


@kept
def artifact_registry() -> artifactregistry_v1.ArtifactRegistryClient:
    """Google's client over REST: its requests are the ones that the lessons show."""
    return artifactregistry_v1.ArtifactRegistryClient(transport="rest")
