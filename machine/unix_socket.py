"""Whether anybody listens on a Unix socket, asked without a client: the Docker SDK leaks a socket when nobody does."""

from __future__ import annotations

import socket


def why_closed(path: str) -> str:
    """Return why nobody can be reached on the socket at `path`, or "" when somebody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(3)
        try:
            probe.connect(path)
        except FileNotFoundError:
            return "there is no such socket"
        except PermissionError:
            return "you may not use that socket (is your user in the group docker?)"
        except OSError as error:
            return f"nobody listens there ({error.strerror or error})"
    return ""
