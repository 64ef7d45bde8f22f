"""The console's sign-in: one-time codes, sessions with cookies, and the tokens of forms.

All of it is in memory. After a restart of the sandbox, `workbook console` prints a new link.
"""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "workbook_console"
CODE_SECONDS = 600
SESSION_SECONDS = 12 * 3600
# Enough for a class. Only a loop would need more.
_MOST = 200


@dataclass(frozen=True)
class Session:
    """A browser that is signed in.

    Attributes:
        member: the user as a policy names it, such as `serviceAccount:learner@p.iam.gserviceaccount.com`.
        form_token: a secret field of each form, so that no other page can send it.
        expires: the end of the session by `clock`.
    """

    member: str
    form_token: str
    expires: float

    def sent(self, form_token: str) -> bool:
        """Return whether a form's token is this session's."""
        return hmac.compare_digest(form_token.encode(), self.form_token.encode())


@dataclass
class Sessions:
    """The unused codes and the open sessions.

    Attributes:
        clock: returns monotonic seconds. Sessions don't depend on the sandbox's clock.
    """

    clock: Callable[[], float] = time.monotonic
    _codes: dict[str, tuple[str, float]] = field(default_factory=dict)
    _open: dict[str, Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def code(self, member: str) -> str:
        """Create a code with which a browser can sign in once, within ten minutes."""
        with self._lock:
            now = self.clock()
            self._codes = {code: entry for code, entry in self._codes.items() if entry[1] > now}
            code = secrets.token_urlsafe(24)
            self._codes[code] = (member, now + CODE_SECONDS)
            while len(self._codes) > _MOST:
                del self._codes[next(iter(self._codes))]
            return code

    def sign_in(self, code: str) -> str | None:
        """Open a session and return its cookie's value, or None if the code is used, expired or wrong."""
        with self._lock:
            now = self.clock()
            member, expires = self._codes.pop(code, ("", 0.0))
            if expires <= now:
                return None
            self._open = {key: session for key, session in self._open.items() if session.expires > now}
            while len(self._open) >= _MOST:
                del self._open[next(iter(self._open))]
            value = secrets.token_urlsafe(32)
            self._open[value] = Session(member, secrets.token_urlsafe(24), now + SESSION_SECONDS)
            return value

    def of(self, request: Request) -> Session | None:
        """Return the session of a request's cookie, or None."""
        with self._lock:
            session = self._open.get(request.cookies.get(COOKIE, ""))
            return session if session and session.expires > self.clock() else None

    def sign_out(self, request: Request) -> None:
        """Close the session of a request's cookie."""
        with self._lock:
            self._open.pop(request.cookies.get(COOKIE, ""), None)


def remember(response: Response, value: str, path: str) -> None:
    """Set the cookie for the console's pages below `path`, invisible to scripts and to other sites."""
    response.set_cookie(
        COOKIE, value, max_age=SESSION_SECONDS, path=path, httponly=True, samesite="strict", secure=False
    )
