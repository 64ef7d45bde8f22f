"""One call of a Google API over REST, with the default credentials: what the clients that we use don't cover."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession

from helpers.transport import clients


def call(method: str, url: str, *, credentials: Any = None, seconds: float = 60, **arguments: Any) -> dict[str, Any]:
    """Return the JSON object that comes back, an empty one for an answer without content.

    Args:
        credentials: those to call with; None takes the default ones, and keeps them with their token for the next call.
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
