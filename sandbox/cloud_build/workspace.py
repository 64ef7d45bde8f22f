"""The volumes that a build's steps share: the workspace with the source, the home folder, and named volumes.

Source for the outputs of steps: `results.buildStepOutputs` in
https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds#results.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import tarfile
from typing import IO

from sandbox import containers
from sandbox.cloud_build import builders, source
from sandbox.cloud_build.running import BuildFailed, Running
from sandbox.cloud_storage import objects
from sandbox.containers import EngineFailed
from sandbox.git_host import git, repositories

_OUTPUT_BYTES = 50 * 1024  # kept of a step's output


def fill(running: Running, token: str) -> None:
    """Create the volumes, and fill them through a container that never runs.

    Args:
        token: an access token of the build's account.

    Raises:
        BuildFailed: if the source has been deleted, or its archive may not be unpacked.
        EngineFailed: if the engine does not answer or has no base image.
    """
    place = running.place
    base = containers.base_image()
    if not base:
        raise EngineFailed("no base image is there to build with; `workbook setup` makes one")
    for volume in (place.workspace, place.home):
        containers.call("volume", "create", *running.labelled, volume)
    holder = _holder(running)
    mounts = ["--volume", f"{place.workspace}:/workspace", "--volume", f"{place.home}:/builder/home"]
    containers.call("create", "--name", holder, *running.labelled, *mounts, base, "true")
    if content := _source(running):
        with content:
            containers.call("cp", "-", f"{holder}:/workspace", stdin=content, seconds=300)
    containers.call("cp", "-", f"{holder}:/builder/home", stdin=_home(running, token))
    for name in sorted(_volumes(running)):
        containers.call("volume", "create", *running.labelled, place.volume(name))


def outputs(running: Running) -> list[str]:
    """Return what each step wrote to `$BUILDER_OUTPUT/output` as base64, or "" for a step that wrote nothing."""
    names = [f"{builders.OUTPUTS}/{number}/output" for number in range(len(running.build["steps"]))]
    found = dict.fromkeys(names, "")
    process = containers.start(["cp", f"{_holder(running)}:/builder/home/{builders.OUTPUTS}", "-"])
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    opened = functools.partial(tarfile.open, fileobj=process.stdout, mode="r|")
    with process.stdout, contextlib.suppress(tarfile.TarError), opened() as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.name in found else None
            if content is not None:
                found[member.name] = base64.b64encode(content.read(_OUTPUT_BYTES)).decode()
    process.wait()
    return list(found.values())


def _holder(running: Running) -> str:
    return f"workbook-{running.place.short}-source"


def _source(running: Running) -> IO[bytes] | None:
    """Return the source as an open tar file, or None for a build without a source."""
    provenance = running.build.get("sourceProvenance", {})
    if pushed := provenance.get("resolvedGitSource"):
        return _checkout(running, pushed["url"], pushed["revision"])
    resolved = provenance.get("resolvedStorageSource")
    if not resolved:
        return None
    name = f"gs://{resolved['bucket']}/{resolved['object']}#{resolved['generation']}"
    running.log.line(f"Fetching storage object: {name}")
    with running.world.reading() as rows:
        stored = objects.find(rows, resolved["bucket"], resolved["object"])
    if stored is None or str(stored.generation) != str(resolved["generation"]):
        raise BuildFailed("FAILURE", "FETCH_SOURCE_FAILED", f"could not fetch source: {name} not found")
    try:
        return source.clean(stored.path(running.world))
    except source.BadSource as error:
        raise BuildFailed("FAILURE", "FETCH_SOURCE_FAILED", f"could not fetch source: {error}") from None


def _checkout(running: Running, url: str, revision: str) -> IO[bytes]:
    """Return a working copy of a commit as an open tar file. Its history is that commit only."""
    owner, name = url.removeprefix("https://github.com/").removesuffix(".git").split("/")
    found = repositories.find(running.world, owner, name)
    try:
        if found is None:
            raise git.GitFailed(f"repository '{url}/' not found")
        count, size = git.size(found.folder(running.world), revision)
        if count > source.MAX_FILES or size > source.MAX_BYTES:
            raise source.BadSource(f"the commit has {count} files of {size} bytes together")
        copy = running.config / "checkout"
        for line in git.check_out(found.folder(running.world), url, revision, copy):
            running.log.line(line)
        packed = running.config / "checkout.tar"
        with tarfile.open(packed, "w") as target:
            target.add(copy, arcname=".")
        return source.clean(packed)
    except (git.GitFailed, git.GitMissing, source.BadSource) as error:
        raise BuildFailed("FAILURE", "FETCH_SOURCE_FAILED", f"could not fetch source: {error}") from None


def _volumes(running: Running) -> set[str]:
    named = [*running.build["options"].get("volumes", ())]
    for step in running.build["steps"]:
        named += step.get("volumes", ())
    return {volume["name"] for volume in named}


def _home(running: Running, token: str) -> bytes:
    """Return a tar of /builder/home: docker's configuration, gcloud's token and a folder for each step's output."""
    out = io.BytesIO()
    files = {".docker/config.json": (running.config / "config.json").read_bytes(), ".access-token": token.encode()}
    with tarfile.open(fileobj=out, mode="w") as target:
        for number in range(len(running.build["steps"])):
            # Writable for all: a step's image may run as another user.
            folder = tarfile.TarInfo(f"{builders.OUTPUTS}/{number}")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777
            target.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            target.addfile(member, io.BytesIO(content))
    return out.getvalue()
