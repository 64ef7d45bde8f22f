"""Startup probes, which decide whether a revision's container has started.

Source: https://cloud.google.com/run/docs/configuring/healthchecks. Google probes once in each period. Here probes
follow each other without a pause for the sum of the periods, so that a learner need not wait for the next period.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.errors import invalid, unimplemented

Json = dict[str, Any]
# "A TCP startup probe is automatically configured for a new Cloud Run service": the same page
DEFAULT_SECONDS = 240
_LIMITS = {
    "initialDelaySeconds": (0, 240),
    "timeoutSeconds": (1, 240),
    "periodSeconds": (1, 240),
    "failureThreshold": (1, None),
}
_HANGS_UP_SECONDS = 0.3
_WINDOW_SECONDS = 600  # failureThreshold × periodSeconds


@dataclass(frozen=True)
class Probe:
    """A startup probe.

    Attributes:
        port: the port to probe, or 0 for the one in PORT.
        path: the path of an HTTP probe, or empty for TCP.
        delay: seconds before the first attempt.
        window: seconds from the first attempt until the container counts as failed.
        timeout: seconds of one attempt.
        configured: whether it is the user's, not the default. The message of a failure depends on it.
    """

    port: int = 0
    path: str = ""
    delay: float = 0.0
    window: float = DEFAULT_SECONDS
    timeout: float = 1.0
    configured: bool = False


def default(port: int) -> Json:
    """Return the probe that Google writes into a revision without one."""
    return {
        "timeoutSeconds": DEFAULT_SECONDS,
        "periodSeconds": DEFAULT_SECONDS,
        "failureThreshold": 1,
        "tcpSocket": {"port": port},
    }


def read(container: Mapping[str, Any], port: int) -> Probe:
    """Return the probe of a container that listens on `port`."""
    found = container.get("startupProbe")
    if not found or found == default(port):
        return Probe()
    named = found.get("httpGet") or found.get("tcpSocket") or {}
    probed = int(named.get("port") or 0)
    window = int(found.get("failureThreshold", 3)) * int(found.get("periodSeconds", 10))
    return Probe(
        port=0 if probed == port else probed,
        path=(named.get("path") or "/") if "httpGet" in found else "",
        delay=float(found.get("initialDelaySeconds", 0)),
        window=float(window),
        timeout=float(found.get("timeoutSeconds", 1)),
        configured=True,
    )


def check(container: Mapping[str, Any]) -> None:
    """Check the settings of a container's probes.

    Raises:
        ApiError: INVALID_ARGUMENT, or UNIMPLEMENTED for kinds of probes that the sandbox does not have.
    """
    for kind in ("livenessProbe", "readinessProbe"):
        if container.get(kind):
            raise unimplemented(f"a {kind}; a startupProbe is here")
    probe = container.get("startupProbe") or {}
    if "grpc" in probe:
        raise unimplemented("a startup probe over gRPC")
    where = "spec.template.spec.containers[0].startup_probe"
    numbers = {}
    for field, (least, most) in _LIMITS.items():
        value = probe.get(field, least)
        if not isinstance(value, int) or value < least or (most is not None and value > most):
            # unverified: the sentence
            raise invalid(f"{where}.{field}: must be {f'between {least} and {most}' if most else f'at least {least}'}.")
        numbers[field] = value
    if not probe:
        return
    if numbers["timeoutSeconds"] > probe.get("periodSeconds", 10):
        raise invalid(f"{where}: timeoutSeconds must not be greater than periodSeconds.")  # unverified: the sentence
    if probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10) > _WINDOW_SECONDS:
        raise invalid(f"{where}: failureThreshold × periodSeconds must not exceed {_WINDOW_SECONDS}.")  # unverified
    if len({"httpGet", "tcpSocket"} & set(probe)) != 1:
        raise invalid(f"{where}: exactly one of httpGet and tcpSocket is needed.")  # unverified: the sentence


def succeeds(probe: Probe, address: tuple[str, int], *, timeout: float) -> bool:
    """Return whether one attempt of the probe succeeds."""
    try:
        if not probe.path:
            with socket.create_connection(address, timeout) as connection:
                return _stays_open(connection)
        client = http.client.HTTPConnection(*address, timeout=timeout)
        try:
            client.request("GET", probe.path, headers={"User-Agent": "GoogleHC/1.0"})
            return 200 <= client.getresponse().status < 400
        finally:
            client.close()
    except (OSError, http.client.HTTPException):
        return False


def _stays_open(connection: socket.socket) -> bool:
    """Return whether a container accepted the connection, not only the engine's proxy of the published port.

    The proxy hangs up immediately if nothing listens in the container, while a server waits for the client's request.
    """
    connection.settimeout(_HANGS_UP_SECONDS)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
