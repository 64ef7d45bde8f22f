"""Serve git's HTTP protocol with git's own program `http-backend`.

Sources: https://git-scm.com/docs/git-http-backend, RFC 3875 (CGI). The messages are those that GitHub's users quote.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from sandbox.git_host import git, receiving, repositories
from sandbox.git_host.repositories import MAX_PUSH, Repository
from sandbox.state.world import World

_PATH = re.compile(r"/(?P<owner>[^/]+)/(?P<name>[^/]+?)(?:\.git)?/(?P<rest>info/refs|git-upload-pack|git-receive-pack)")
_PIECE = 64 * 1024
_IN_MEMORY = 256 * 1024
_REQUEST = 4 * 1024 * 1024  # bytes of a request that does not push
_SECONDS = 300.0


def _refuse(status: int, sentence: str) -> Response:
    # git shows only plain text.
    headers = {"WWW-Authenticate": 'Basic realm="GitHub"'} if status == 401 else {}
    return PlainTextResponse(f"{sentence}\n", status, headers)


async def serve(request: Request, world: World, path: str) -> Response:
    """Answer one request of git."""
    match = _PATH.fullmatch(path)
    service = request.query_params.get("service", "") if match and match["rest"] == "info/refs" else ""
    if match is None or (match["rest"] == "info/refs") != (request.method == "GET"):
        return _refuse(404, "Not Found")
    service = service or match["rest"]
    if service not in ("git-upload-pack", "git-receive-pack"):
        return _refuse(404, "Please upgrade your git client: the sandbox speaks git's smart protocol.")
    writes = service == "git-receive-pack"
    login, found = await asyncio.to_thread(_admit, world, request, match["owner"], match["name"])
    if isinstance(found, Response):
        return found
    request.scope["sandbox.principal"] = login
    if writes and not login:
        return _refuse(401, "No anonymous write access.")
    if writes and not repositories.may_push(world, found, login):
        return _refuse(403, f"Permission to {found.full_name}.git denied to {login}.")
    limit = MAX_PUSH if writes else _REQUEST
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(world.folder)) as body:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                return _refuse(413, f"The push is larger than {limit // (1024 * 1024)} MiB, which is the most.")
            body.write(chunk)
        body.rollover()
        body.seek(0)
        posted = request.method == "POST"
        variables = _variables(request, found, match["rest"], login, size if posted else 0)
        try:
            return await asyncio.to_thread(_run, world, found, variables, body, login if writes and posted else "")
        except git.GitMissing as error:
            return _refuse(501, f"The workbook's sandbox can't do this: {error}.")
        except receiving.BusyRepository:
            return _refuse(503, "Another push to this repository is being received. Try again.")


def _admit(world: World, request: Request, owner: str, name: str) -> tuple[str, Repository | Response]:
    """Return the caller's login and the repository, or instead of it the refusal."""
    header = request.headers.get("authorization", "")
    login = login_of(world, header)
    if header and not login:
        return "", _refuse(
            401, "Invalid username or token. Password authentication is not supported for Git operations."
        )
    found = repositories.find(world, owner, name)
    if found is not None and repositories.right(world, found, login):
        return login, found
    # Do not reveal that a private repository exists.
    return login, _refuse(404 if login else 401, "Repository not found.")


def login_of(world: World, header: str) -> str:
    """Return the login of an Authorization header's credentials, or ""."""
    kind, _, value = header.partition(" ")
    if kind.lower() == "bearer":
        return repositories.login_of(world, value.strip())
    if kind.lower() != "basic":
        return ""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    # GitHub accepts the token as the password of any user, or as the user without a password.
    return repositories.login_of(world, password if password not in ("", "x-oauth-basic") else user)


def _variables(request: Request, repository: Repository, rest: str, login: str, size: int) -> dict[str, str]:
    found = {
        "GIT_HTTP_EXPORT_ALL": "1",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.scope["query_string"].decode("latin-1"),
        "PATH_INFO": f"/{repository.id}.git/{rest}",
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "REMOTE_ADDR": "127.0.0.1",
        "GATEWAY_INTERFACE": "CGI/1.1",
    }
    if request.method == "POST":
        found["CONTENT_LENGTH"] = str(size)
    if encoding := request.headers.get("content-encoding"):
        found["HTTP_CONTENT_ENCODING"] = encoding
    protocol = request.headers.get("git-protocol", "")
    if re.fullmatch(r"[a-z0-9=:.-]{1,100}", protocol):
        found["GIT_PROTOCOL"] = protocol
    if login:
        found["REMOTE_USER"] = login
    return found


def _run(world: World, repository: Repository, variables: dict[str, str], body: IO[bytes], pusher: str) -> Response:
    folder = repository.folder(world)
    everything = git.environment() | variables | {"GIT_PROJECT_ROOT": str(folder.parent)}
    # A file, not a pipe, so that git runs to its end even if the client hangs up.
    out = tempfile.TemporaryFile(dir=str(world.folder))  # noqa: SIM115 - the answer closes it
    try:
        if pusher:
            with receiving.pushing(world, repository, pusher) as lock:
                _call(everything, body, out, (lock,))
        else:
            _call(everything, body, out, ())
        out.seek(0)
        return _answer(out)
    except BaseException:
        out.close()
        raise


def _call(variables: dict[str, str], body: IO[bytes], out: IO[bytes], kept: tuple[int, ...]) -> None:
    command = [git.program(), "http-backend"]
    with subprocess.Popen(
        command,
        stdin=body,
        stdout=out,
        stderr=subprocess.DEVNULL,
        env=variables,
        pass_fds=kept,
        start_new_session=True,
    ) as process:
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)


def _answer(out: IO[bytes]) -> Response:
    status, headers = 200, {}
    while line := out.readline(_PIECE).rstrip(b"\r\n"):
        key, _, value = line.decode("latin-1").partition(":")
        if key.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[key] = value.strip()
    if not headers and status == 200:
        out.close()
        return _refuse(500, "git ended without an answer.")
    return StreamingResponse(_pieces(out), status, headers)


def _pieces(out: IO[bytes]) -> Iterator[bytes]:
    with out:
        while piece := out.read(_PIECE):
            yield piece
