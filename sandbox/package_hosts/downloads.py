"""Send the bytes of a package's file, in the same way for every format."""

from __future__ import annotations

from starlette.responses import FileResponse

from sandbox.artifact_registry import integrity
from sandbox.artifact_registry.package_files import PackageFile
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.state.world import World


def whole(world: World, file: PackageFile | None, missing: PackageRefusal) -> PackageFile:
    """Return the file if its bytes are stored and undamaged.

    Raises:
        PackageRefusal: `missing`, if there is no file or its bytes are not stored.
    """
    if file is None:
        raise missing
    try:
        integrity.require(world, file.blob, file.size)
    except FileNotFoundError:
        raise missing from None
    return file


def send(world: World, file: PackageFile, *, lasts: bool) -> FileResponse:
    """Answer with all bytes of a file, or with a range.

    Args:
        lasts: whether the name always stands for these bytes, so that a client may cache them.
    """
    headers = {"ETag": f'"{file.sha256}"'}
    if lasts:
        headers["Cache-Control"] = "private, max-age=31536000"
    return FileResponse(integrity.path_of(world, file.blob), media_type="application/octet-stream", headers=headers)
