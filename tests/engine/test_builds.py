"""A Dockerfile gives the same files, owners, modes, sizes and configuration on dockerd and on our engine."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
import pytest

from engine import jail
from machine import base_image
from tests.engine import conversations
from tests.engine.conftest import ROOT, WAY, ours, theirs

# Every instruction, and details that are easily wrong: owners, modes, links, folders, deletions and replacements.
DOCKERFILE: Final = """
FROM base:1 AS first
ARG WORD=none
ENV SAID=$WORD PLAIN="a b" ONE=1
RUN mkdir -p /made/deep/er && echo step > /made/deep/er/step && chmod 4750 /made/deep && chmod 600 /made/deep/er/step
RUN ln -s /made/deep/er/step /made/link && ln /made/deep/er/step /made/hard && chown 1000:1001 /made/link
FROM base:1
LABEL one=1 two="a b"
WORKDIR /work/place
COPY --from=first /made /taken
COPY --chown=learner:more file folder /data/
COPY --chown=7 file relative/
COPY folder/i* ./
ADD archive.tar /unpacked/
ADD file /added
RUN rm -r /data/inner && echo more >> /added && chmod 751 /unpacked
RUN rm -r /taken && mkdir /taken && echo new > /taken/new
WORKDIR deeper
EXPOSE 8080 53/udp
VOLUME ["/kept", "/kept too"]
USER learner:more
RUN id > /tmp-of-learner || true
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=1m30s --timeout=1s --retries=2 CMD ["test", "-e", "/added"]
ENTRYPOINT ["cat"]
CMD ["/added"]
"""
# Fields of dockerd alone, such as the container that made the image, and the engine's version.
_THEIRS: Final = {
    "container",
    "container_config",
    "docker_version",
    "created",
    "rootfs",
    "history",
    "os",
    "architecture",
}


@dataclass(frozen=True)
class Built:
    """An image's files by layer, configuration and history."""

    layers: list[dict[str, tuple[Any, ...]]]
    config: dict[str, Any]
    history: list[tuple[str, bool]]
    size: int


def read(client: docker.DockerClient, name: str) -> Built:
    """Read an image from its `docker save` archive."""
    packed = io.BytesIO(b"".join(client.images.get(name).save()))
    with tarfile.open(fileobj=packed) as archive:

        def content(member: str) -> bytes:
            file = archive.extractfile(member)
            assert file is not None
            return file.read()

        manifest = json.loads(content("manifest.json"))[0]
        document = json.loads(content(manifest["Config"]))
        layers = []
        for member in manifest["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(content(member))) as layer:
                layers.append({one.name.rstrip("/"): _entry(one) for one in layer})
    history = [
        # The digest in a COPY's line is computed differently.
        (re.sub(r":[0-9a-f]{64}", ":DIGEST", one.get("created_by", "")), bool(one.get("empty_layer")))
        for one in document["history"]
    ]
    config = {key: value for key, value in document["config"].items() if value not in (None, "", {}, [], False)}
    # The hostname and image of the container that made it.
    for gone in ("Hostname", "Image"):
        config.pop(gone, None)
    return Built(layers, config, history, client.images.get(name).attrs["Size"])


def _entry(member: tarfile.TarInfo) -> tuple[Any, ...]:
    return (member.type, oct(member.mode & 0o7777), member.uid, member.gid, member.size, member.linkname)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[docker.DockerClient, docker.DockerClient]]:
    folder = tmp_path_factory.mktemp("builds")
    with (
        theirs(folder / "dockerd", version="20.10.") as host,
        ours(folder / "engine") as running,
        contextlib.closing(docker.DockerClient(base_url=host, timeout=300)) as one,
        contextlib.closing(docker.DockerClient(base_url=running.host, timeout=300)) as other,
    ):
        one.api.import_image_from_file(str(conversations.base(folder)), repository="base", tag="1")
        yield one, other


def both(
    clients: tuple[docker.DockerClient, docker.DockerClient], context: Path, base: str, *options: str
) -> tuple[Built, Built]:
    """Build a context on both engines by the docker command, from the same base image."""
    for client in clients:
        if not client.images.list(base):
            client.images.load(b"".join(clients[0].images.get(base).save(named=True)))
    found = []
    for client in clients:
        environment = {"PATH": os.environ["PATH"], "HOME": str(context), "DOCKER_BUILDKIT": "0"}
        environment["DOCKER_HOST"] = f"unix://{client.api._custom_adapter.socket_path}"
        done = subprocess.run(
            ["docker", "build", "--tag", "built:1", *options, str(context)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(read(client, "built:1"))
    return found[0], found[1]


def plain(layers: list[dict[str, tuple[Any, ...]]]) -> list[dict[str, tuple[Any, ...]]]:
    """Replace the opaque whiteout of a folder (`.wh..wh..opq`) by one for each deleted file, as in our layers."""
    found, below = [], set[str]()
    for layer in layers:
        written = dict(layer)
        for name in layer:
            folder, _, base = name.rpartition("/")
            if base != ".wh..wh..opq":
                continue
            entry = written.pop(name)
            children = {one for one in below if one.rpartition("/")[0] == folder and one not in layer}
            written |= {f"{folder}/.wh.{one.rpartition('/')[2]}": (entry[0], "0o600", *entry[2:]) for one in children}
        below |= set(layer)
        found.append(written)
    return found


def same(one: Built, other: Built) -> None:
    assert other.history == one.history
    assert other.config == one.config
    assert len(other.layers) == len(one.layers)
    for number, (left, right) in enumerate(zip(plain(one.layers), other.layers, strict=True)):
        assert right == left, f"layer {number}: {one.history}"
    assert other.size == one.size


def test_every_instruction_makes_the_same_image(
    clients: tuple[docker.DockerClient, docker.DockerClient], tmp_path: Path
) -> None:
    context = tmp_path / "context"
    (context / "folder/sub").mkdir(parents=True)
    (context / "folder/inner").write_text("inner\n")
    (context / "folder/sub/file").write_text("sub\n")
    (context / "file").write_text("content\n")
    (context / "file").chmod(0o640)
    (context / "folder/link").symlink_to("inner")
    (context / "Dockerfile").write_text(DOCKERFILE)
    with tarfile.open(context / "archive.tar", "w") as packed:
        member = tarfile.TarInfo("in/side")
        member.size, member.uid, member.gid, member.mode = 3, 12, 34, 0o611
        packed.addfile(member, io.BytesIO(b"abc"))
    one, other = both(clients, context, "base:1")
    if jail.means(WAY).way(jail.Process(Path("/"), [], {})) != "chroot":
        # There, files of every container's user belong to the engine's user on the disk, who owns /.
        for layer in other.layers:
            layer.pop("tmp-of-learner", None)
    same(one, other)


def test_one_line_on_an_image_makes_the_same_image(
    clients: tuple[docker.DockerClient, docker.DockerClient], tmp_path: Path
) -> None:
    """As notebook 5 builds it."""
    (tmp_path / "Dockerfile").write_text("FROM base:1\nENV LOG_LEVEL=debug\n")
    same(*both(clients, tmp_path, "base:1"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak")
def test_the_workbooks_image_is_the_same(
    clients: tuple[docker.DockerClient, docker.DockerClient], tmp_path: Path
) -> None:
    base = base_image.ensure(clients[0], lambda _: None)
    context = tmp_path / "context"
    context.mkdir()
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, context)
    shutil.copytree(ROOT / "sample_app", context / "sample_app")
    one, other = both(clients, context, base, "--network=host", f"--build-arg=PYTHON_IMAGE={base}")
    same(one, other)


def test_a_build_from_the_cache_lays_out_no_stage(tmp_path: Path) -> None:
    """A build from the cache needs no tree of the stage. With scikit-learn, that takes longer than the rest."""
    with ours(tmp_path / "engine") as running:
        assert running.docker("import", str(conversations.base(tmp_path)), "base:1").returncode == 0
        context = tmp_path / "context"
        context.mkdir()
        first = "FROM base:1 AS first\nRUN echo built > /made\n"
        (context / "Dockerfile").write_text(f"{first}FROM base:1\nCOPY --from=first /made /taken\nCMD cat /taken\n")
        built = running.docker("build", "--tag=copied:1", str(context))
        assert built.returncode == 0, built.stderr
        shutil.rmtree(running.folder / "root" / "roots")
        (running.folder / "root" / "roots").mkdir()
        again = running.docker("build", "--tag=copied:2", str(context))
        assert (again.returncode, again.stdout.count("Using cache")) == (0, 3), again.stderr
        assert list((running.folder / "root" / "roots").iterdir()) == []
        assert running.docker("run", "--rm", "copied:2").stdout == "built\n"
