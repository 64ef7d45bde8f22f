"""Hostile contexts, archives and images read and change no file outside the root."""

from __future__ import annotations

import contextlib
import gc
import gzip
import hashlib
import io
import json
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, BuildError, ImageLoadError

from engine import jail
from tests.engine import conversations
from tests.engine.conftest import WAY, Running, ours

# docker-py leaves a response's socket open if it doesn't read it to the end.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]
Entry = tuple[str, bytes, bytes, str]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hostile")
    with ours(folder) as one:
        made = one.docker("import", str(conversations.base(folder)), "base:1")
        assert made.returncode == 0, made.stderr
        yield one


@pytest.fixture
def client(running: Running) -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.DockerClient(base_url=running.host, version="1.44")) as found:
        yield found
    # Collected here, where warnings of open sockets are expected, so that no later test gets them.
    gc.collect()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder of the machine that must stay unchanged and unread."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("a secret")
    yield place
    assert {one.name: one.read_text() for one in place.iterdir()} == {"secret": "a secret"}


def link(name: str, target: str) -> Entry:
    return name, b"", tarfile.SYMTYPE, target


def file(name: str, content: str = "changed") -> Entry:
    return name, content.encode(), tarfile.REGTYPE, ""


def archive(*entries: Entry) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as found:
        for name, content, kind, target in entries:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = kind, target, 0o755
            member.size = len(content)
            found.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def build(client: docker.DockerClient, dockerfile: str, *entries: Entry) -> None:
    context = io.BytesIO(archive(file("Dockerfile", dockerfile), *entries))
    client.images.build(fileobj=context, custom_context=True, tag="built:1", rm=True)


def shown(client: docker.DockerClient, path: str) -> bytes:
    return bytes(client.containers.run("built:1", ["cat", path], remove=True))


def test_a_context_s_link_leads_nowhere_outside(client: docker.DockerClient, outside: Path) -> None:
    with pytest.raises(BuildError, match="COPY failed"):
        build(client, "FROM base:1\nCOPY l/secret /x\n", link("l", str(outside)))
    with pytest.raises(BuildError, match="COPY failed"):
        build(client, "FROM base:1\nCOPY l /x\n", link("l", f"{outside}/secret"))


def test_a_context_s_entries_stay_in_it(client: docker.DockerClient, outside: Path) -> None:
    build(client, "FROM base:1\nCOPY . /c\n", link("l", str(outside)), file("l/secret"), file(f"{outside}/secret"))
    assert shown(client, f"/c{outside}/secret") == b"changed"
    with pytest.raises(APIError, match="leads out of it"):
        build(client, "FROM base:1\n", file("../outside/secret"))
    with pytest.raises(APIError, match="hard link"):
        build(client, "FROM base:1\n", ("h", b"", tarfile.LNKTYPE, f"{outside}/secret"))


def test_a_dockerfile_is_no_file_of_the_machine(client: docker.DockerClient, outside: Path) -> None:
    context = io.BytesIO(archive(link("Dockerfile", f"{outside}/secret")))
    with pytest.raises((APIError, BuildError), match="Cannot locate specified Dockerfile"):
        client.images.build(fileobj=context, custom_context=True)


def test_a_step_s_link_leads_nowhere_outside(client: docker.DockerClient, outside: Path) -> None:
    dockerfile = f"FROM base:1\nRUN ln -s {outside} /l\nCOPY f /l/secret\nWORKDIR /l/deeper\nADD a.tar /l/\n"
    build(client, dockerfile, file("f"), ("a.tar", archive(file("added")), tarfile.REGTYPE, ""))
    assert shown(client, f"{outside}/secret") == b"changed"
    assert shown(client, f"{outside}/added") == b"changed"


def test_a_link_of_another_stage_leads_nowhere_outside(client: docker.DockerClient, outside: Path) -> None:
    with pytest.raises(BuildError, match="COPY failed"):
        build(client, f"FROM base:1 AS a\nRUN ln -s {outside} /l\nFROM base:1\nCOPY --from=a /l/secret /x\n")


def test_an_archive_that_is_added_stays_in_the_root(client: docker.DockerClient, outside: Path) -> None:
    packed = archive(link("l", str(outside)), file("l/secret"), ("n", b"", tarfile.CHRTYPE, ""))
    build(client, "FROM base:1\nADD a.tar /a/\n", ("a.tar", packed, tarfile.REGTYPE, ""))
    with pytest.raises(BuildError, match="leads out of it"):
        build(client, "FROM base:1\nADD a.tar /a/\n", ("a.tar", archive(file("../../x")), tarfile.REGTYPE, ""))


def linked(client: docker.DockerClient, *entries: Entry) -> None:
    """Make an image of the base's files and hostile entries, without running a process."""
    build(client, "FROM base:1\nADD a.tar /\n", ("a.tar", archive(*entries), tarfile.REGTYPE, ""))


@pytest.mark.parametrize("place", ["dev", "proc", "sys"])
def test_an_image_s_folder_that_is_a_link_leads_nowhere_outside(
    client: docker.DockerClient, outside: Path, place: str
) -> None:
    """The engine makes devices and mounts in a root."""
    linked(client, link(place, str(outside)))
    assert client.containers.run("built:1", ["echo", "ran"], remove=True) == b"ran\n"


def test_a_folder_of_names_that_is_a_link_leads_nowhere_outside(client: docker.DockerClient, outside: Path) -> None:
    linked(client, link("etc", str(outside)))
    assert client.containers.run("built:1", ["ls", f"{outside}/hosts"], remove=True) == f"{outside}/hosts\n".encode()


def test_what_a_container_writes_to_dev_and_sys_is_its_own(client: docker.DockerClient) -> None:
    """Root in a container can't delete the machine's devices. The test makes a file instead, which does no harm."""
    name = f"made-in-a-container-{secrets.token_hex(4)}"
    command = f"echo 1 > /dev/{name}; echo 1 > /dev/shm/{name}; echo 1 > /dev/null; ls -ld /dev/null; exit 0"
    told = client.containers.run("base:1", ["sh", "-c", command], remove=True)
    left = [path for path in (Path("/dev") / name, Path("/dev/shm") / name) if path.exists()]
    for path in left:
        path.unlink()
    assert left == [] or os.geteuid() != 0
    assert told.startswith(b"c")
    # Its present value, so that a successful write does no harm.
    setting = "/proc/sys/kernel/hostname"
    ran = client.containers.run(
        "base:1", ["sh", "-c", f"read -r a < {setting} && echo $a > {setting} && echo written; exit 0"], remove=True
    )
    assert ran == b"" or not jail.means(WAY).mounts


def test_no_device_that_a_container_makes_can_be_opened(client: docker.DockerClient, tmp_path: Path) -> None:
    """It could be the machine's disk. The test makes that of /dev/null."""
    if not jail.means(WAY).mounts:
        pytest.skip("no process gets mounts of its own here")
    (tmp_path / "given").mkdir()
    for place in ("", "/dev", "/dev/shm", "/temporary", "/given"):
        made = client.containers.create(
            "base:1",
            ["sh", "-c", f"mknod {place}/made c 1 3 && read -r line < {place}/made; echo $?"],
            volumes={str(tmp_path / "given"): {"bind": "/given"}},
            tmpfs={"/temporary": ""},
        )
        try:
            made.start()
            made.wait()
            assert b"Permission denied" in made.logs(), place
        finally:
            made.remove()


def test_the_machine_s_files_are_not_among_a_container_s_mounts(client: docker.DockerClient) -> None:
    """Otherwise root could get back to them, as out of a chroot."""
    if not jail.means(WAY).mounts or shutil.which("nsenter") is None:
        pytest.skip("no process gets mounts of its own here, or nsenter is not on the PATH")
    made = client.containers.run("base:1", ["sh", "-c", "echo 1 > /mine; echo ready; exec sleep 600"], detach=True)
    try:
        assert next(iter(made.logs(stream=True))) == b"ready\n"
        made.reload()
        command = ["nsenter", f"--target={made.attrs['State']['Pid']}", "--mount", "/bin/cat", "/mine"]
        seen = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (seen.stdout, seen.stderr) == ("1\n", "")
    finally:
        made.remove(force=True)


def test_files_that_the_engine_writes_are_no_links(client: docker.DockerClient, outside: Path) -> None:
    linked(client, *(link(f"etc/{name}", f"{outside}/secret") for name in ("hosts", "resolv.conf", "hostname")))
    build(client, "FROM built:1\nRUN true\n")
    client.containers.run("built:1", ["true"], remove=True, extra_hosts={"one": "10.1.2.3"})


def test_what_is_bound_and_temporary_is_in_the_root(client: docker.DockerClient, outside: Path, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    build(client, f"FROM base:1\nRUN ln -s {outside} /l\n")
    client.containers.run(
        "built:1", ["touch", "/l/in/made"], volumes={str(tmp_path / "given"): {"bind": "/l/in"}}, remove=True
    )
    assert [one.name for one in (tmp_path / "given").iterdir()] == ["made"]
    client.containers.run("built:1", ["touch", "/l/t/made"], tmpfs={"/l/t": ""}, remove=True)


def test_copies_to_and_from_a_container_stay_in_it(
    running: Running, client: docker.DockerClient, outside: Path
) -> None:
    build(client, f"FROM base:1\nRUN ln -s {outside} /l\n")
    made = client.containers.create("built:1", ["true"])
    try:
        with pytest.raises(APIError, match="Could not find the file"):
            made.get_archive("/l/secret")
        with pytest.raises(APIError, match="Could not find the file"):
            made.put_archive("/l", archive(file("secret")))
        assert made.put_archive("/", archive(link("m", str(outside)), file("m/secret")))
        with pytest.raises(APIError, match="leads out of it"):
            made.put_archive("/etc", archive(file("../../outside/secret")))
    finally:
        made.remove()


def load(client: docker.DockerClient, *entries: Entry, **manifest: Any) -> None:
    client.images.load(archive(*entries, file("manifest.json", json.dumps([manifest]))))


def test_a_saved_image_names_no_file_of_the_machine(client: docker.DockerClient, outside: Path) -> None:
    for name in (f"{outside}/secret", "../../outside/secret", "l"):
        with pytest.raises(ImageLoadError):
            load(client, link("l", f"{outside}/secret"), Config=name, Layers=[], RepoTags=["loaded:1"])
    assert not client.images.list("loaded")


def test_a_loaded_layer_stays_in_its_root(client: docker.DockerClient, outside: Path) -> None:
    layer = archive(link("l", str(outside)), file("l/secret"), file("bin/f"))
    config = json.dumps(
        {
            "architecture": client.images.get("base:1").attrs["Architecture"],
            "os": "linux",
            "config": {"Cmd": ["true"], "WorkingDir": "/l", "Volumes": {"/l": {}, "/../../x": {}}},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    )
    entries = (file("c.json", config), ("layer.tar", layer, tarfile.REGTYPE, ""))
    load(client, *entries, Config="c.json", Layers=["layer.tar"], RepoTags=["loaded:1"])
    made = client.containers.create("loaded:1")
    with pytest.raises(APIError, match="executable file not found"):
        made.start()
    assert bytes(b"".join(made.export()))
    made.remove(v=True)


def huge_header(size: int) -> bytes:
    """Return an archive whose first header claims a record of `size` bytes, which compresses well."""
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, size
    return member.tobuf(tarfile.USTAR_FORMAT)


def huge_file() -> bytes:
    member = tarfile.TarInfo("x")
    member.size = 11 * 1024**3
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("bomb", ["header", "file"])
def test_a_bomb_is_refused_before_it_is_unpacked(
    running: Running, client: docker.DockerClient, bomb: str, tmp_path: Path
) -> None:
    packed = gzip.compress((huge_header(1 << 32) if bomb == "header" else huge_file()) + bytes(1 << 20))
    said = "has a header of" if bomb == "header" else "more than this engine takes"
    with pytest.raises(APIError, match=said):
        client.images.build(fileobj=io.BytesIO(packed), custom_context=True, encoding="gzip")
    with pytest.raises(ImageLoadError, match=said):
        client.images.load(packed)
    made = client.containers.create("base:1", ["true"])
    with pytest.raises(APIError, match=said):
        made.put_archive("/", packed)
    made.remove()
    (tmp_path / "bomb").write_bytes(packed)
    imported = running.docker("import", str(tmp_path / "bomb"), "bomb:1")
    assert imported.returncode == 1
    assert not client.images.list("bomb")
    told = subprocess.run(["du", "-sm", str(running.folder / "root")], capture_output=True, text=True, check=True)
    assert int(told.stdout.split()[0]) < 500


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"\x1f\x8b damaged", bytes(1024), b"\x1f\x8b\x08" + bytes(99)],
    ids=["nothing", "text", "damaged", "zeros", "cut"],
)
def test_what_is_no_archive_is_refused_with_a_sentence(client: docker.DockerClient, content: bytes) -> None:
    for call in (
        lambda: client.images.build(fileobj=io.BytesIO(content), custom_context=True),
        lambda: client.images.load(content),
    ):
        with pytest.raises((APIError, BuildError, ImageLoadError)) as refused:
            call()
        assert "a fault of its own" not in str(refused.value)
