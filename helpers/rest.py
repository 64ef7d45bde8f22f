"""One call of a Google API over REST, with the default credentials: what the clients that we use don't cover."""

from __future__ import annotations

from typing import Any, Final

import google.auth
from google.api_core import exceptions
from google.auth.transport.requests import AuthorizedSession

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


def call(method: str, url: str, **arguments: Any) -> dict[str, Any]:
    """The JSON object that comes back; `arguments` are those of requests (`params`, `json`).

    Raises google.api_core.exceptions.GoogleAPICallError for a refusal, google.auth.exceptions.GoogleAuthError without
    credentials.
    """
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    with AuthorizedSession(credentials) as session:  # type: ignore[no-untyped-call]
        answer = session.request(method, url, timeout=60, **arguments)  # type: ignore[no-untyped-call]
    if answer.status_code >= 400:
        raise exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]
    content: dict[str, Any] = answer.json()
    return content
