"""Call Google's APIs over REST with the default credentials, where no client library is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession

from helpers.transport import clients


def call(method: str, url: str, *, credentials: Any = None, seconds: float = 60, **arguments: Any) -> dict[str, Any]:
    """Return the JSON object of the answer, which is empty if the answer has no content.

    Args:
        credentials: None means the default credentials, which are kept with their token for the next call.
        seconds: how long to wait for the answer.
        arguments: those of requests (`params`, `json`, `data`, `headers`).

    Raises google.api_core.exceptions.GoogleAPICallError for a refusal, google.auth.exceptions.GoogleAuthError without
    credentials.
    """
    if credentials is None:
        answer = clients.session().request(method, url, timeout=seconds, **arguments)  # type: ignore[no-untyped-call]
    else:
        with AuthorizedSession(credentials) as session:  # type: ignore[no-untyped-call]
            answer = session.request(method, url, timeout=seconds, **arguments)  # type: ignore[no-untyped-call]
    if answer.status_code >= 400:
        raise exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]
    content: dict[str, Any] = answer.json() if answer.content.strip() else {}
    return content


def find(url: str) -> dict[str, Any] | None:
    """Return the JSON object at an address, or None if it doesn't exist. Raises as `call`."""
    try:
        return call("GET", url)
    except exceptions.NotFound:
        return None


def pages(url: str, key: str, **query: str) -> Iterator[dict[str, Any]]:
    """Yield all items of a list that Google returns in pages. Raises as `call`.

    Args:
        key: the field of an answer that has the items.
        query: further parameters, such as `pageSize`.
    """
    token = ""
    while True:
        answer = call("GET", url, params=query | ({"pageToken": token} if token else {}))
        yield from answer.get(key, ())
        token = answer.get("nextPageToken", "")
        if not token:
            return
