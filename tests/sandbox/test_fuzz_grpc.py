"""Every gRPC call with messages that no client would send, through the edge: refused, never INTERNAL or UNKNOWN.

A slice runs here; `make soak` runs all of it and prints how long an answer took.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from sandbox.doors import grpc_schema
from sandbox.doors.grpc_schema import Rpc
from tests.sandbox import intruders
from tests.sandbox import test_every_route as routes
from tests.sandbox import test_fuzz as fuzz

CALLS = 2_000 if os.environ.get("WORKBOOK_SOAK") == "1" else 300
target = routes.target

_HOSTS = {host for host, _ in grpc_schema._SERVICES.values()}
# What would end the world that the other calls are made in.
_NOT_ASKED = ("DeleteProject", "SetIamPolicy", "DisableService", "MoveProject", "UpdateProjectBillingInfo")
_METADATA = (
    ("host", "storage.googleapis.com"),
    ("x-goog-user-project", "9" * 500),
    ("x-goog-api-client", "gl-python/3"),
    ("x-junk-bin", b"\x00\xff"),
    ("authorization", "Bearer x"),
)
_WORDS = ("", "x", "-", "a/b", "*", "%", "..", "é", "\x00", "9" * 500, "true", "NOT " * 300, "(" * 300, "a=b AND")


def _rpcs() -> list[tuple[str, Rpc]]:
    """Host and call, those that delete at the end."""
    found = []
    for service, (host, _) in sorted(grpc_schema._SERVICES.items()):
        for name, call in sorted(grpc_schema._calls(service).items()):
            if name not in _NOT_ASKED:
                found.append((host, call))
    return sorted(found, key=lambda pair: "/Delete" in pair[1].path)


def _text(chance: random.Random, there: intruders.Target, name: str) -> str:
    place = f"projects/{there.project}/locations/us-central1"
    names = (f"projects/{there.project}", place, f"{place}/repositories/private", f"{place}/repositories/none", "-")
    if name in ("parent", "name", "resource", "build_id", "project_id", "id") and chance.random() < 0.8:
        return chance.choice((*names, there.project, f"{names[2]}/packages/app/versions/{intruders.DIGEST}"))
    return chance.choice(_WORDS)


def _number(chance: random.Random, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return chance.choice((0.0, -1.0, 1e300, float("inf"), float("nan")))
    low = 0 if field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64) else -1
    wide = field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
    return chance.choice((low, 0, 1, 5, 2**62 if wide else 2**31 - 1))


def _fill(chance: random.Random, there: intruders.Target, message: Any, depth: int = 0) -> None:
    """Set some of a message's fields."""
    for field in cast(Descriptor, message.DESCRIPTOR).fields:
        if chance.random() < (0.3 if depth == 0 and field.name in ("name", "parent") else 0.6):
            continue
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            if {part.type for part in entry.fields} == {FieldDescriptor.TYPE_STRING}:
                getattr(message, field.name)[chance.choice(_WORDS)] = chance.choice(_WORDS)
        elif entry is not None:
            if depth < 4:
                part = getattr(message, field.name)
                part = part.add() if field.is_repeated else part
                getattr(part, "SetInParent", lambda: None)()
                _fill(chance, there, part, depth + 1)
        else:
            value = _value(chance, there, field)
            if field.is_repeated:
                getattr(message, field.name).extend([value] * chance.choice((1, 2, 50)))
            else:
                setattr(message, field.name, value)


def _fit(chance: random.Random, there: intruders.Target, message: Any, uri: str) -> None:
    """Set the fields that a path names to what is there, so that the call gets as far as its method."""
    known = {"projects": there.project, "locations": "us-central1", "repositories": "private", "packages": "app"}
    known |= {"versions": intruders.DIGEST, "tags": "v1", "services": "artifactregistry.googleapis.com"}
    for name, pattern in re.findall(r"\{([\w.]+)(?:=([^}]*))?\}", uri):
        *way, last = name.split(".")
        holder = message
        for part in way:
            holder = getattr(holder, part)
        before, words = "", []
        for word in (pattern or "*").split("/"):
            words.append(known.get(before, there.project if "project" in last else "none") if "*" in word else word)
            before = word
        if chance.random() < 0.9:
            setattr(holder, last, "/".join(words))


def _value(chance: random.Random, there: intruders.Target, field: FieldDescriptor) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text(chance, there, field.name)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.choice((b"", b"\xff\x00", b"x" * 500))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return chance.choice((0, 1, 2, 99))
    return _number(chance, field)


def _content(chance: random.Random, there: intruders.Target, call: Rpc) -> bytes:
    message: Any = call.request()
    _fill(chance, there, message)
    _fit(chance, there, message, chance.choice(call.rules)["uri"])
    content = cast(bytes, message.SerializeToString())
    if chance.random() < 0.2:
        cut = bytearray(content or b"\x0a\x05")
        for _ in range(chance.randint(1, 4)):
            cut[chance.randrange(len(cut))] = chance.randrange(256)
        content = bytes(cut[: chance.randint(0, len(cut))] if chance.random() < 0.3 else cut)
    return content if chance.random() > 0.03 else chance.randbytes(chance.choice((1, 50, 5000)))


@pytest.mark.timeout(3600 if CALLS > 1000 else 120)
def test_no_message_is_an_error_of_the_sandbox(target: intruders.Target) -> None:
    chance = random.Random(15)
    trusted = grpc.ssl_channel_credentials(Path(target.ca).read_bytes())
    proxied = [("grpc.http_proxy", f"http://127.0.0.1:{target.edge}")]
    channels = {host: grpc.secure_channel(f"{host}:443", trusted, proxied) for host in sorted(_HOSTS)}
    rpcs, failures, times = _rpcs(), {}, []
    staying = [pair for pair in rpcs if "/Delete" not in pair[1].path]
    answers: Counter[int] = Counter()
    try:
        for number in range(CALLS):
            asked = rpcs if number > 0.9 * CALLS else staying
            host, call = asked[number % len(asked)] if number % 2 else chance.choice(asked)
            path = call.path if chance.random() > 0.02 else f"{call.path}x"
            metadata: list[tuple[str, str | bytes]] = [("authorization", f"Bearer {target.owner}")]
            if chance.random() < 0.1:
                metadata.append(chance.choice(_METADATA))
            content = _content(chance, target, call)
            began = time.perf_counter()
            try:
                channels[host].unary_unary(path)(content, timeout=60, metadata=metadata)
                code = grpc.StatusCode.OK
            except grpc.RpcError as error:
                code = cast(grpc.Call, error).code()
                if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED):
                    failures[call.path] = f"{path} {metadata[1:]}\n{content[:600]!r}\n{code}"
            times.append(time.perf_counter() - began)
            answers[code.value[0]] += 1
    finally:
        for channel in channels.values():
            channel.close()
    fuzz._told("gRPC", times, answers)
    assert not failures, "\n\n".join(failures.values()) + fuzz._log(target)[-6000:]
    assert "Traceback" not in fuzz._log(target)
    # Most get as far as a method: what fails before it tests the door alone.
    assert answers[grpc.StatusCode.UNAVAILABLE.value[0]] == 0
    assert answers[grpc.StatusCode.OK.value[0]] > 0.02 * CALLS
