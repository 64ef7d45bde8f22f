"""Build, tag, push, pull, inspect and run images with the `docker` package, on the engine of DOCKER_HOST.

Functions take and return canonical names. On the engine each image has two references, docker's and the canonical one,
which are the same on Google.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
import socket
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import requests

from helpers import names, target, waiting
from helpers.cell import progress
from helpers.target import ROOT

# Cloud Run's platform. On a machine that can't run it, the sandbox accepts another one.
PLATFORM: Final = "linux/amd64"
PORT: Final = 8080
_STEP: Final = re.compile(r"Step (\d+)/(\d+) : ")
_DIGEST: Final = re.compile(r"digest: (sha256:[0-9a-f]{64})")


class BuildFailed(RuntimeError):
    """The engine couldn't build the image. The message is the engine's, with the last lines of the output."""


class TransferRefused(RuntimeError):
    """The registry refused a push or a pull. The message is the registry's."""


@dataclass(frozen=True)
class Layer:
    """One layer: its size on the engine (uncompressed bytes) and the Dockerfile's line that created it."""

    size: int
    made_by: str


@dataclass(frozen=True)
class Pushed:
    """The result of a push: the digest, the number of layers sent, and of those that the registry already had."""

    digest: names.Digest
    sent: int
    known: int


class NotServing(RuntimeError):
    """The container ended, or didn't answer in time. The message includes its log."""


@dataclass(frozen=True)
class Service:
    """A running container: `url` is its address on this machine, without a slash at the end."""

    container: str
    url: str


def engine() -> docker.DockerClient:
    """Return a client for the engine. Raises docker.errors.DockerException when it doesn't answer."""
    return docker.from_env(timeout=600)


def build(
    tag: names.Tag,
    *,
    context: Path = ROOT,
    build_args: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    platform: str = "",
) -> str:
    """Build the Dockerfile in `context`, tag it with both references, and return the image's id (`sha256:…`).

    Raises BuildFailed with the last lines of the build's output.
    """
    here = target.current()
    with contextlib.closing(engine()) as client:
        events = client.api.build(
            path=str(context),
            tag=here.docker_name(tag),
            buildargs=dict(build_args or {}),
            labels={**here.labels, **(labels or {})},
            platform=platform or os.environ.get("WORKBOOK_PLATFORM") or PLATFORM,
            network_mode=None if has_bridge(client) else "host",
            rm=True,
            decode=True,
        )
        output: list[str] = []
        with progress.bar(f"Building {tag.image.path}:{tag.name}") as shown:
            for event in events:
                if "error" in event:
                    raise BuildFailed("\n".join([*output[-15:], event["error"].strip()]))
                text = event.get("stream", "").rstrip()
                output += [text] if text else []
                step = _STEP.match(text)
                if step:
                    shown.total = int(step[2])
                    shown.update(int(step[1]) - shown.n)
        retag(client, here.docker_name(tag), str(tag))
        identifier: str = client.images.get(str(tag)).id or ""
    return identifier


def tag(source: names.Tag | names.Digest, *tags: names.Tag) -> None:
    """Add tags to an image on the engine, under both references. Raises docker.errors.ImageNotFound."""
    here = target.current()
    with contextlib.closing(engine()) as client:
        for one in tags:
            for reference in dict.fromkeys((here.docker_name(one), str(one))):
                retag(client, here.docker_name(source), reference)


def push(tag: names.Tag) -> Pushed:
    """Push a tag. Raises TransferRefused with the registry's text."""
    here = target.current()
    repository, _, _ = here.docker_name(tag).rpartition(":")
    with contextlib.closing(engine()) as client:
        events = client.api.push(repository, tag=tag.name, stream=True, decode=True)
        last, text = _follow(events, f"Pushing {tag.image.path}:{tag.name}")
    found = _DIGEST.search(text)
    if not found:
        raise TransferRefused(f"The engine pushed {tag} and told no digest. It said last: {text[-200:]}")
    sent = sum(status == "Pushed" for status in last.values())
    known = sum(status == "Layer already exists" or status.startswith("Mounted from") for status in last.values())
    return Pushed(tag.image.digest(found[1]), sent, known)


def pull(name: names.Tag | names.Digest) -> names.Digest:
    """Pull a tag or a digest, and return the digest. Raises TransferRefused."""
    here = target.current()
    image = name.image
    with contextlib.closing(engine()) as client:
        repository = here.docker_name(image)
        reference = name.value if isinstance(name, names.Digest) else name.name
        try:
            events = client.api.pull(repository, tag=reference, stream=True, decode=True)
            _follow(events, f"Pulling {image.path}")
        except docker.errors.APIError as error:
            raise TransferRefused(str(error.explanation or error)) from error
        if isinstance(name, names.Tag):
            retag(client, here.docker_name(name), str(name))
        digests = digests_of(client, here.docker_name(name))
    return next(image.digest(value) for known, value in digests if known == repository)


def digests_of(client: docker.DockerClient, reference: str) -> tuple[tuple[str, str], ...]:
    """Return an image's RepoDigests as (docker's repository, digest). Raises docker.errors.ImageNotFound."""
    found = client.images.get(reference).attrs.get("RepoDigests") or []
    return tuple((text.partition("@")[0], text.partition("@")[2]) for text in found)


def layers(name: names.Tag | names.Digest) -> tuple[Layer, ...]:
    """Return the layers of an image on the engine, lowest first, without those that have no files."""
    with contextlib.closing(engine()) as client:
        history = client.images.get(target.current().docker_name(name)).history()
    # BuildKit creates a layer for the folder of a WORKDIR, which some image stores don't count as empty.
    return tuple(
        Layer(int(one["Size"]), made_by)
        for one in reversed(history)
        if int(one["Size"]) > 0 and not (made_by := _made_by(one)).startswith("WORKDIR ")
    )


def retag(client: docker.DockerClient, source: str, reference: str) -> None:
    """Add a reference to the image `source`. Raises docker.errors.ImageNotFound."""
    repository, _, tag = reference.rpartition(":")
    if reference != source:
        client.images.get(source).tag(repository, tag=tag)


def has_bridge(client: docker.DockerClient) -> bool:
    """Return whether containers of this engine get a network of their own. Otherwise they share the machine's."""
    return bool(client.api.networks(names=["bridge"], filters={"driver": "bridge"}))


def run(
    image: names.Tag | names.Digest,
    *,
    environment: Mapping[str, str] | None = None,
    files: Mapping[str, Path] | None = None,
    health: str = "/health",
    port: str = "PORT",
    seconds: float = 60.0,
) -> Service:
    """Run an image with a read-only file system and wait until `health` answers 200.

    Its port 8080 is published on a free port of 127.0.0.1. On an engine without a bridge, the variable `port` has a
    free port instead. `files` (path in the container → file of this machine) are copied into volumes that are removed
    with the container. Raises docker.errors.ImageNotFound, and NotServing after `seconds`.
    """
    here = target.current()
    settings: dict[str, Any] = {
        "labels": here.labels,
        "environment": {port: str(PORT), **(environment or {})},
        "read_only": True,
        "tmpfs": {"/tmp": ""},  # noqa: S108 - inside the container
        "volumes": sorted({posixpath.dirname(path) for path in files or {}}),
    }
    with contextlib.closing(engine()) as client:
        if has_bridge(client):
            settings["ports"] = {f"{PORT}/tcp": ("127.0.0.1", None)}
        else:
            settings["network_mode"] = "host"
            settings["environment"][port] = str(_free_port())
        container = client.containers.create(here.docker_name(image), **settings)
        try:
            for path, file in (files or {}).items():
                container.put_archive(posixpath.dirname(path), _packed(posixpath.basename(path), file))
            container.start()
            url = _wait(container, settings["environment"][port], health, seconds)
        except BaseException:
            container.remove(force=True, v=True)
            raise
        return Service(str(container.id), url)


def stop(service: Service) -> None:
    """Stop and remove the container, if it exists."""
    with contextlib.closing(engine()) as client, contextlib.suppress(docker.errors.NotFound):
        client.containers.get(service.container).remove(force=True, v=True)


def content(image: names.Tag | names.Digest, path: str) -> bytes | None:
    """Return a file of an image on the engine without running it, or None if there is no file at that path.

    Raises docker.errors.ImageNotFound.
    """
    here = target.current()
    with contextlib.closing(engine()) as client:
        # Some engines require a command even for a container that never starts.
        container = client.containers.create(here.docker_name(image), command="none", labels=here.labels)
        try:
            parts, _ = container.get_archive(path)
            with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as archive:
                file = archive.extractfile(archive.next() or tarfile.TarInfo())
                return file.read() if file else None
        except docker.errors.NotFound:
            return None
        finally:
            container.remove(force=True, v=True)


def _follow(events: Iterable[dict[str, Any]], title: str) -> tuple[dict[str, str], str]:
    """Read a transfer's events to the end. Return each layer's last status and all text. Raises TransferRefused."""
    last: dict[str, str] = {}
    texts: list[str] = []
    for event in progress.transfer(events, title):
        if "error" in event:
            raise TransferRefused(event["error"].strip())
        layer, status = event.get("id", ""), event.get("status", "")
        if layer:
            last[layer] = status
        else:
            texts.append(status)
    return last, "\n".join(texts)


def _made_by(entry: Mapping[str, Any]) -> str:
    """Return the Dockerfile's line without the parts that builders add."""
    text = str(entry.get("CreatedBy") or entry.get("Comment") or "")
    text = re.sub(r"^/bin/sh -c #\(nop\)\s*", "", text)
    text = re.sub(r"^(?:RUN )?(?:\|\d+ (?:\S+=\S* )*)?/bin/sh -c ", "RUN ", text)
    text = re.sub(r"\s+# buildkit$", "", text)
    # The classic builder shows the copied files as a hash, BuildKit by their paths.
    text = re.sub(r"^(COPY|ADD) (?:(?:dir|file|multi):\w+ in|.*) (\S+)\s*$", r"\1 … \2", text)
    text = re.sub(r"\s+", " ", text).strip()
    return "the base image" if text in ("", "Imported from -") else text


def _wait(container: Any, port: str, health: str, seconds: float) -> str:
    with requests.Session() as session:
        session.trust_env = False
        for _ in waiting.attempts(seconds, first=0.05, longest=0.05):
            container.reload()
            if container.status in ("exited", "dead"):
                raise NotServing(f"The container ended before it answered:\n{_log(container)}")
            published = (container.attrs["NetworkSettings"].get("Ports") or {}).get(f"{PORT}/tcp")
            url = f"http://127.0.0.1:{published[0]['HostPort'] if published else port}"
            with contextlib.suppress(requests.RequestException):
                if session.get(url + health, timeout=2).status_code == 200:
                    return url
    raise NotServing(f"The container didn't answer 200 at {health} in time:\n{_log(container)}")


def _packed(name: str, file: Path) -> bytes:
    """Return a tar of one file that everybody may read, because the server runs as another user."""
    content = file.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o444
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _log(container: Any) -> str:
    text: str = container.logs(tail=20).decode(errors="replace")
    return text.strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
