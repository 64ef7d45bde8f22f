"""The address under which a person sees this server.

Links and the form are relative, so they work under any path without help. Only the command that the page shows for
copying needs the whole address, and with it the path that a proxy took off the front.
"""

import re

from django.http import HttpRequest

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def address(request: HttpRequest) -> str:
    """Return scheme, host and the proxy's ``X-Forwarded-Prefix``, without a slash at the end.

    A prefix that isn't a plain path is left out: the header comes from outside and ends up in a command to copy.
    """
    prefix = request.headers.get("X-Forwarded-Prefix", "").rstrip("/")
    return f"{request.scheme}://{request.get_host()}{prefix if _PREFIX.fullmatch(prefix) else ''}"
