"""Every HTML page that the sandbox itself answers, through one template that escapes what callers sent."""

from __future__ import annotations

import jinja2
from starlette.responses import HTMLResponse

_ENVIRONMENT = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
# Nothing from outside and no script: what a page shows it carries.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action {forms}; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page(template: str, status: int = 200, *, forms: bool = False, **values: object) -> HTMLResponse:
    """Render a page.

    Args:
        template: Jinja's, written here and never by a caller.
        forms: whether it has one, which sends to the sandbox.
        values: what callers sent may be among them; it is escaped.
    """
    allowed = "'self'" if forms else "'none'"
    headers = {name: value.replace("{forms}", allowed) for name, value in _HEADERS.items()}
    return HTMLResponse(_ENVIRONMENT.from_string(template).render(status=status, **values), status, headers)
