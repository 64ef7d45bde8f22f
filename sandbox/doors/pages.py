"""Render the sandbox's HTML pages outside the console, with all values escaped."""

from __future__ import annotations

import jinja2
from starlette.responses import HTMLResponse

_ENVIRONMENT = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
# Pages load nothing and run no script.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action {forms}; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def page(template: str, status: int = 200, *, forms: bool = False, **values: object) -> HTMLResponse:
    """Render a page.

    Args:
        template: a Jinja template, never from a caller.
        forms: whether the page has a form, which may only post to the sandbox.
        values: the template's values, which may come from callers and are escaped.
    """
    allowed = "'self'" if forms else "'none'"
    headers = {name: value.replace("{forms}", allowed) for name, value in _HEADERS.items()}
    return HTMLResponse(_ENVIRONMENT.from_string(template).render(status=status, **values), status, headers)
