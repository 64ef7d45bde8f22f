"""The stand-in base image: what it says of itself, what scanners read in it, and that Python works in it."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import docker
import pytest

from machine import base_image, engine, root_file_system, stand_in
from machine.errors import BaseImageMissing

IMPORTS = "bz2, ctypes, curses, ensurepip, hashlib, lzma, readline, sqlite3, ssl, uuid, venv, zlib, zoneinfo"


@pytest.fixture(scope="module")
def image(client: docker.DockerClient) -> str:
    found = stand_in.find(client)
    if found is None:
        try:
            found = stand_in.make(client, print)
        except BaseImageMissing as missing:
            pytest.skip(str(missing))
    return found


def _run(client: docker.DockerClient, image: str, *command: str, **options: object) -> str:
    output = client.containers.run(image, list(command), remove=True, network_mode="host", **options)
    return bytes(output).decode()


@pytest.mark.docker
def test_it_says_that_it_is_a_stand_in(client: docker.DockerClient, image: str) -> None:
    assert image.startswith("workbook/python-stand-in:3.")
    labels = client.images.get(image).labels
    assert labels["workbook.stand-in"] == "true"
    assert labels["org.opencontainers.image.description"].startswith("Stand-in for python:3.12-slim")


@pytest.mark.docker
def test_python_is_whole(client: docker.DockerClient, image: str) -> None:
    program = f"import sys, {IMPORTS}; print(sys.version_info[:2], len(ssl.create_default_context().get_ca_certs()))"
    major, minor = image.rpartition(":")[2].split(".")
    version, certificates = _run(client, image, "python", "-c", program).strip().rsplit(" ", 1)
    assert version == f"({major}, {minor})"
    assert int(certificates) > 0


@pytest.mark.docker
def test_it_makes_an_environment_with_pip(client: docker.DockerClient, image: str) -> None:
    script = "python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version && /tmp/venv/bin/pip config list"
    said = _run(client, image, "sh", "-c", script)
    assert said.startswith("pip ")
    assert "/etc/ssl/certs/ca-certificates.crt" in said


@pytest.mark.docker
def test_it_runs_read_only_and_without_root(client: docker.DockerClient, image: str) -> None:
    program = "import os, zoneinfo; print(os.getuid(), zoneinfo.ZoneInfo('Europe/Berlin'))"
    assert _run(client, image, "python", "-c", program, user="10001:10001", read_only=True) == "10001 Europe/Berlin\n"
    assert _run(client, image, "stat", "-c", "%a", "/tmp") == "1777\n"


@pytest.mark.docker
def test_no_link_leads_nowhere_that_matters(client: docker.DockerClient, image: str) -> None:
    script = "find /bin/ /lib/ /usr/bin /usr/sbin /usr/lib/ssl /etc -xtype l"
    assert _run(client, image, "sh", "-c", script) == ""


@pytest.mark.docker
@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs dpkg-query")
def test_dpkg_reads_its_packages(client: docker.DockerClient, image: str, tmp_path: Path) -> None:
    container = client.containers.create(image)
    try:
        chunks, _ = container.get_archive("/var/lib/dpkg")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
            # Not extractall: its safe filter came to 3.11 only with 3.11.4, and Debian has 3.11.2.
            for member in (one for one in tar if one.isfile()):
                file = tmp_path / member.name
                file.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                file.write_bytes(content.read())
    finally:
        container.remove()
    shown = _dpkg_query(tmp_path / "dpkg", "-W", "-f", "${Package} ${Version} ${db:Status-Status} ${source:Package}\n")
    packages = {line.split()[0]: line.split()[1:] for line in shown.splitlines()}
    assert {"python3", "libssl3", "ca-certificates", "coreutils"} <= {name.removesuffix("t64") for name in packages}
    assert all(len(fields) == 3 and fields[1] == "installed" for fields in packages.values())
    assert "/usr/bin/python3" in _dpkg_query(tmp_path / "dpkg", "-L", "python3-minimal").splitlines()


def _dpkg_query(folder: Path, *arguments: str) -> str:
    command = ["dpkg-query", f"--admindir={folder}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.docker
def test_a_second_call_asks_nobody(client: docker.DockerClient, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_PYTHON_IMAGE", "workbook/python-stand-in")
    said: list[str] = []
    assert base_image.ensure(client, said.append) == image
    assert said == []


@pytest.mark.docker
def test_an_image_that_cannot_be_had_is_named(client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_PYTHON_IMAGE", "localhost:1/no/such:image")
    with pytest.raises(BaseImageMissing, match="localhost:1/no/such:image"):
        base_image.ensure(client, print)


@pytest.mark.docker
def test_an_older_recipe_is_not_taken_for_the_image(
    client: docker.DockerClient, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "RECIPE", "another")
    assert stand_in.find(client) is None


@pytest.mark.docker
def test_a_build_on_it_reaches_the_network(client: docker.DockerClient, image: str) -> None:
    found = engine.find()
    assert found is not None
    lines = f"FROM {image}\nRUN grep -q . /etc/resolv.conf && python -c 'import ssl'\n"
    built, _ = client.images.build(
        fileobj=io.BytesIO(lines.encode()), rm=True, network_mode=engine.build_network(found)
    )
    client.images.remove(built.id)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_are_laid_over_a_merged_usr(tmp_path: Path) -> None:
    one = _package(
        tmp_path, "one", "amd64", {"bin/tool": "1", "usr/share/doc/one/copyright": "c"}, extra="Multi-Arch: same\n"
    )
    two = _package(
        tmp_path, "two", "all", {"usr/bin/other": "2", "usr/share/man/man1/x": "m", "usr/share/doc/two/news": "n"}
    )
    archive = tmp_path / "root.tar"
    root_file_system.write([one, two], archive, ca_bundle=b"PEM")
    with tarfile.open(archive) as tar:
        names = tar.getnames()
        assert len(names) == len(set(names)), "docker import refuses an archive that names a path twice"
        assert {"usr/bin/tool", "usr/bin/other", "usr/share/doc/one/copyright"} <= set(names)
        assert not {"usr/share/man/man1/x", "usr/share/doc/two/news"} & set(names)
        assert tar.getmember("bin").linkname == "usr/bin"
        assert tar.getmember("tmp").mode == 0o1777
        assert _text(tar, "etc/ssl/certs/ca-certificates.crt") == "PEM"
        assert "cert = /etc/ssl/certs/ca-certificates.crt" in _text(tar, "etc/pip.conf")
        assert "/bin/tool" in _text(tar, "var/lib/dpkg/info/one:amd64.list").splitlines()
        assert _text(tar, "var/lib/dpkg/status").count("Status: install ok installed") == 2


def _package(folder: Path, name: str, architecture: str, files: dict[str, str], *, extra: str = "") -> Path:
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1\nArchitecture: {architecture}\nMaintainer: a <a@example.com>\n{extra}"
    (tree / "DEBIAN/control").write_text(f"{control}Description: {name}\n")
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
    deb = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)], check=True, capture_output=True)
    return deb


def _text(tar: tarfile.TarFile, name: str) -> str:
    content = tar.extractfile(name)
    assert content is not None
    return content.read().decode()
