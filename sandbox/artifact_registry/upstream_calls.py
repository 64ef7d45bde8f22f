"""Calls to the upstream of a remote repository: past the sandbox's own proxy, with the credentials of its settings."""

from __future__ import annotations

import os
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    import requests

SECONDS = (5, 60)  # to connect, and between two bytes
CHUNK = 1 << 20
_PAGE_LIMIT = 64 << 20  # bytes of an index
_FILE_LIMIT = 9_900_000_000  # bytes; "9.9 GB per request", https://cloud.google.com/artifact-registry/quotas

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Unreachable(Exception):
    """The upstream does not answer, or answers what is no answer; the text says which."""


class Missing(Exception):
    """The upstream says that it does not have it."""


class Credentials(tuple[str, str]):
    """Name and password for an upstream; its text shows neither."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return what a log may hold."""
        return "Credentials(…)"


def session() -> requests.Session:
    """Return a session that reaches what this machine reaches without the sandbox."""
    # Not at the sandbox's start, which it would make longer by a tenth: most learners ask no upstream.
    import requests

    made = requests.Session()
    # The learner's proxy leads to this very sandbox; the user's own one is kept beside it.
    if proxy := os.environ.get("WORKBOOK_UPSTREAM_PROXY", ""):
        made.proxies = {"http": proxy, "https": proxy}
    made.headers["User-Agent"] = "artifact-registry-workbook"
    return made


def of_same_origin(url: str, address: str, credentials: Credentials | None) -> Credentials | None:
    """Return the credentials for a URL: those of the upstream for its own origin, and none for another one."""
    here, there = urlsplit(url), urlsplit(address)
    return credentials if (here.scheme, here.netloc) == (there.scheme, there.netloc) else None


def fetch(url: str, accept: str, credentials: Credentials | None = None) -> requests.Response:
    """Return the upstream's answer with its whole body, after redirects.

    Raises:
        Missing: for 404 and 410.
        Unreachable: for every other answer than 200, and for none.
    """
    import requests

    try:
        with (
            session() as opened,
            opened.get(url, headers={"Accept": accept}, auth=credentials, timeout=SECONDS, stream=True) as answer,
        ):
            look(answer)
            body = b""
            for chunk in answer.iter_content(CHUNK):
                body += chunk
                if len(body) > _PAGE_LIMIT:
                    raise Unreachable(f"an index of more than {_PAGE_LIMIT} bytes")
            answer._content = body
            return answer
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None


def download(url: str, path: Path, credentials: Credentials | None = None) -> None:
    """Write a file of the upstream to a path. Raises as `fetch`."""
    import requests

    try:
        with (
            session() as opened,
            opened.get(url, auth=credentials, timeout=SECONDS, stream=True) as answer,
            path.open("wb") as file,
        ):
            look(answer)
            size = 0
            for chunk in answer.iter_content(CHUNK):
                size += len(chunk)
                if size > _FILE_LIMIT:
                    raise Unreachable(f"a file of more than {_FILE_LIMIT} bytes")
                file.write(chunk)
    except requests.RequestException as error:
        raise Unreachable(type(error).__name__) from None


def look(answer: requests.Response) -> None:
    """Raise Missing or Unreachable for every status but 200."""
    if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise Missing
    if answer.status_code != HTTPStatus.OK:
        raise Unreachable(f"status {answer.status_code}")


def token(opened: requests.Session, challenge: str, credentials: Credentials | None) -> str:
    """Return the token that a registry of images asks for: with the credentials, or the one for everybody.

    https://distribution.github.io/distribution/spec/auth/token/

    Raises:
        Unreachable: where it asks for something else, or gives none.
    """
    said = dict(_CHALLENGE.findall(challenge))
    if not challenge.lower().startswith("bearer ") or urlsplit(said.get("realm", "")).scheme not in ("http", "https"):
        raise Unreachable("it wants a credential")
    query = urlencode({name: said[name] for name in ("service", "scope") if name in said})
    answer = opened.get(f"{said['realm']}?{query}", auth=credentials, timeout=SECONDS)
    look(answer)
    try:
        body = answer.json()
        return str(body.get("token") or body["access_token"])
    except (ValueError, KeyError, AttributeError):
        raise Unreachable("its token endpoint answers no token") from None
