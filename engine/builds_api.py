"""The API call that builds an image."""

from __future__ import annotations

import base64
import binascii
import json
import os
import tarfile
from pathlib import Path

from engine import transfer
from engine.builder import Build
from engine.errors import Refused, bad_request, unsupported
from engine.server import Call, route
from engine.stages import Options
from engine.store import BAD_ARCHIVE, Header, Store
from engine.trees import Unpacker


@route("POST", "/build")
def build(call: Call) -> None:
    """Answer `docker build`."""
    if call.one("version") == "2":
        raise Refused("the workbook's engine does not do this: BuildKit. Set DOCKER_BUILDKIT=0", 501)
    if call.one("remote"):
        raise Refused("the workbook's engine does not do this: a build context that lies on a server", 501)
    store: Store = call.engine.store
    options = _options(call)
    context = store.temporary("context")
    context.mkdir()
    try:
        _receive(call, context)

        def work(say: transfer.Say) -> None:
            Build(call.engine, context, options, say, call.is_gone).run()

        call.messages(work)
    finally:
        store.give_up(context)


def _receive(call: Call, context: Path) -> None:
    try:
        with tarfile.open(fileobj=call.body, mode="r|*", tarinfo=Header) as archive:
            Unpacker(context, whiteouts=False, owner=(os.geteuid(), os.getegid())).unpack(archive)
    except BAD_ARCHIVE as error:
        raise bad_request(f"the build context can't be read: {error}") from None
    while call.body.read(65536):
        pass


def _options(call: Call) -> Options:
    try:
        arguments = json.loads(call.one("buildargs") or "{}") or {}
        labels = json.loads(call.one("labels") or "{}") or {}
        configured = call.headers.get("X-Registry-Config")
        auths = json.loads(base64.urlsafe_b64decode(configured + "===")) if configured else {}
    except (ValueError, binascii.Error):
        raise bad_request("a parameter of the build can't be read") from None
    platform = call.one("platform")
    if platform and "/" not in platform:
        platform = f"linux/{platform}"
    if call.is_set("squash"):
        raise bad_request("squash is only supported with experimental mode")
    _check_query(call)
    return Options(
        call.one("dockerfile") or "Dockerfile",
        [tag for tag in call.query.get("t", ()) if tag],
        arguments,
        labels,
        call.one("target"),
        platform,
        call.is_set("nocache"),
        call.is_set("pull"),
        call.is_set("q"),
        [text for value in call.query.get("extrahosts", ()) for text in value.split(",") if text],
        {host: {k.lower(): v for k, v in one.items()} for host, one in auths.items()},
    )


# The parameters of a build that are supported, or describe how this engine behaves anyway: no step leaves a container.
_BUILD = frozenset(
    (
        *("t", "dockerfile", "buildargs", "labels", "target", "platform", "nocache", "pull", "q", "extrahosts"),
        *("rm", "forcerm", "version", "remote", "squash", "compress"),
    )
)
_BUILD_VALUES = {"networkmode": ("default", "host", "bridge"), "isolation": ("default",)}


def _check_query(call: Call) -> None:
    """Raise Refused, with the parameter's name, for one that this engine doesn't support."""
    for name, values in call.query.items():
        for value in values:
            # Processors are numbered from 0.
            nothing = ("",) if name.startswith("cpuset") else ("", "0", "false", "null", "[]", "{}")
            if value not in nothing and name not in _BUILD and value not in _BUILD_VALUES.get(name, ()):
                raise unsupported(f"the build's parameter {name}")
