"""Test whether a process listens on a Unix socket. The Docker SDK leaks a socket if none does."""

from __future__ import annotations

import socket


def why_closed(path: str) -> str:
    """Return why no connection to the socket at `path` is possible, or ""."""
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
