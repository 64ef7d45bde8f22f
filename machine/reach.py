"""Test whether the Docker Engine can reach this machine's loopback, where the sandbox listens.

An engine in a machine of its own (Docker Desktop, Colima, a remote DOCKER_HOST) has a loopback of its own: it answers,
builds, and then can't push. To detect it before anything is built, the engine is made to connect to this process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import docker
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from machine.engine import connect

SECONDS: Final = 4
# The command for a learner whose engine is on another machine.
CONTAINER: Final = "docker compose up --build"
AS_IT_IS: Final = "Set-up, reading, notebooks 00 to 02, `make real ARGS=--check` and `make site` work as it is"
ELSEWHERE: Final = "WORKBOOK_ENGINE_ELSEWHERE"


def why_not(host: str) -> str:
    """Return "" if the engine at `host` reaches this machine's loopback, else advice for the learner.

    The engine is made to sign in to a registry at a port of ours. That needs no image, and any connection proves the
    point. It takes 5 s at most.
    """
    with _door() as (port, knocked):
        try:
            client = connect(host, SECONDS)
        except DockerException:
            # It answered before and is slow now. Nothing is known, and it will report later errors itself.
            return ""
        with closing(client):
            reason = _sign_in(client, port)
        if knocked.is_set():
            return ""
    return (
        f"The Docker Engine at {host} can't reach the sandbox: on its own machine's loopback, {reason}. "
        "Docker Desktop, Colima and a remote DOCKER_HOST run their engine in another machine than this one. "
        f"{AS_IT_IS}; for all notebooks run the workbook in its container: {CONTAINER}"
    )


def environment(host: str) -> dict[str, str]:
    """Return the variable by which notebooks know of an engine on another machine; nothing for one on this machine."""
    reason = why_not(host)
    return {ELSEWHERE: reason} if reason else {}


@contextmanager
def _door() -> Iterator[tuple[int, threading.Event]]:
    """Listen on a free port of 127.0.0.1 and return the port and an event that is set when anybody connects."""
    knocked = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS

        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="door"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        def verify_request(self, request: object, client_address: object) -> bool:
            knocked.set()
            return True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_port, knocked
        finally:
            server.shutdown()
            thread.join()


def _sign_in(client: docker.DockerClient, port: int) -> str:
    """Make the engine sign in at that port, and return its error in a few words."""
    try:
        client.login("nobody", "nothing", registry=f"localhost:{port}", reauth=True, dockercfg_path="/nonexistent")
    except APIError as error:
        # Also an exception of requests: the engine answered with an error.
        said = str(error.explanation or error).strip().splitlines()
        return said[0].rpartition(": ")[2].rstrip(".")
    except (DockerException, RequestException):
        return f"no answer within {SECONDS} s"
    return "somebody else answers"
