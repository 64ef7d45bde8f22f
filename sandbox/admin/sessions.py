"""Who is signed in to the console: one-time codes, cookies, and the token that each form carries.

All of it is in memory: after a restart of the sandbox, `workbook console` prints a new link.
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
# A lead's class: more than these at once is a loop that signs in.
_MOST = 200


@dataclass(frozen=True)
class Session:
    """A browser that is signed in.

    Attributes:
        member: in whose name the pages read, `serviceAccount:learner@p.iam.gserviceaccount.com`.
        form_token: what a form has to carry, so that no other page can send it.
        expires: seconds of `clock`.
    """

    member: str
    form_token: str
    expires: float

    def sent(self, form_token: str) -> bool:
        """Whether a form was written for this session."""
        return hmac.compare_digest(form_token.encode(), self.form_token.encode())


@dataclass
class Sessions:
    """The codes that wait and the sessions that are open.

    Attributes:
        clock: seconds that never go back; sessions have nothing to do with the sandbox's clock.
    """

    clock: Callable[[], float] = time.monotonic
    _codes: dict[str, tuple[str, float]] = field(default_factory=dict)
    _open: dict[str, Session] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def code(self, member: str) -> str:
        """Make a code with which a browser signs in once, within ten minutes."""
        with self._lock:
            now = self.clock()
            self._codes = {code: entry for code, entry in self._codes.items() if entry[1] > now}
            code = secrets.token_urlsafe(24)
            self._codes[code] = (member, now + CODE_SECONDS)
            while len(self._codes) > _MOST:
                del self._codes[next(iter(self._codes))]
            return code

    def sign_in(self, code: str) -> str | None:
        """Take a code and open a session; return its cookie's value, or None for a code that is used, old or wrong."""
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
        """Return the session of a request's cookie."""
        with self._lock:
            session = self._open.get(request.cookies.get(COOKIE, ""))
            return session if session and session.expires > self.clock() else None

    def sign_out(self, request: Request) -> None:
        """Close the session of a request's cookie."""
        with self._lock:
            self._open.pop(request.cookies.get(COOKIE, ""), None)


def remember(response: Response, value: str, path: str) -> None:
    """Put the cookie on an answer: for the console's pages below `path`, unknown to scripts and to other sites."""
    response.set_cookie(
        COOKIE, value, max_age=SESSION_SECONDS, path=path, httponly=True, samesite="strict", secure=False
    )
