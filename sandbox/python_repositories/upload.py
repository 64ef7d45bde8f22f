"""Take an upload of twine or `uv publish`: a form with the metadata's fields and the file.

Source: PyPI's documentation of its upload API. A file never changes: the same name again is refused, even with the
same bytes.
"""

from __future__ import annotations

import zipfile
import zlib
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path

from packaging.version import InvalidVersion, Version

from sandbox.artifact_registry import blobs, package_files
from sandbox.artifact_registry.catalog import Repository, find_repository
from sandbox.package_hosts import bodies
from sandbox.package_hosts.refusals import PackageRefusal
from sandbox.python_repositories import distributions
from sandbox.python_repositories.distributions import Distribution
from sandbox.state.world import World

# Field of the form to the algorithm of its digest; the third is BLAKE2b with 256 bits, which hashlib cannot name.
_DIGESTS = {"sha256_digest": "sha256", "md5_digest": "md5"}
_METADATA = 1 << 20  # bytes of a wheel's METADATA
# Fields that the index could not serve.
_UNKNOWN = ("gpg_signature", "attestations")


def store(world: World, repository: Repository, body: Path, content_type: str) -> None:
    """Take the file out of a form and keep it. Blocking; call it from a thread, in no transaction.

    Raises:
        PackageRefusal: 400 for an invalid form or file, and for a file that exists already; 404 if the repository
            has been deleted meanwhile.
    """
    with body.open("rb") as opened, bodies.scratch(world) as part:
        form = bodies.Form(opened, content_type)
        distribution = _check(form)
        # MD5 is checked because the form has it.
        size, digests = form.copy("content", part, *_DIGESTS.values())
        for field, algorithm in _DIGESTS.items():
            if (claimed := form.text(field)) and claimed.lower() != digests[algorithm]:
                raise _wrong(f"The file's {algorithm} is {digests[algorithm]}, not {claimed[:80]}")
        if distribution.is_wheel:
            _check_wheel(part, distribution)
        _keep(world, repository, form, distribution, part, size, digests["sha256"])


def _keep(
    world: World,
    repository: Repository,
    form: bodies.Form,
    distribution: Distribution,
    part: Path,
    size: int,
    sha256: str,
) -> None:
    digest = f"sha256:{sha256}"
    about = {"requires_python": form.text("requires_python")} if form.text("requires_python") else {}
    file = package_files.PackageFile(
        repository.name,
        f"{distribution.package}/{distribution.file}",
        distribution.package,
        distribution.version,
        digest,
        size,
        about,
    )
    with world.reading() as rows:
        if package_files.find(rows, file.repository, file.name) is not None:
            raise _exists()
    blobs.place(world, part, digest)
    with world.writing() as rows:
        if find_repository(rows, repository.name) is None:
            raise PackageRefusal(404, f'Repository "{repository.id}" was not found.')
        try:
            package_files.add(rows, world, file)
        except package_files.FileExists:
            raise _exists() from None


def _exists() -> PackageRefusal:
    """Return the 400 that several public reports quote (pypa/twine#816, NVlabs/tiny-cuda-nn#489)."""
    return PackageRefusal(400, "Requested entity already exists.")


def _wrong(reason: str) -> PackageRefusal:
    return PackageRefusal(400, f"{reason}.")  # unverified: Google's texts; the status is that of a refused upload


def _check(form: bodies.Form) -> Distribution:
    if (action := form.text(":action")) != "file_upload":
        raise _wrong(f"The form's :action is {action[:40]!r}, not 'file_upload'")
    for field in _UNKNOWN:
        if form.has(field):
            raise _wrong(f"The workbook's sandbox keeps no {field}: upload without it")
    file = form.file_name("content")
    if not file:
        raise _wrong("The form has no file with the name 'content'")
    distribution = distributions.parse(file)
    if distribution is None:
        raise _wrong(
            f"{file[:200]!r} is not the name of a wheel or of a source distribution: NAME-VERSION-TAGS.whl or "
            "NAME-VERSION.tar.gz"
        )
    if distributions.normalised(form.text("name")) != distribution.package:
        raise _wrong(f"The form's name is {form.text('name')[:200]!r}, and the file belongs to {distribution.package}")
    if _version(form.text("version")) != distribution.version:
        raise _wrong(
            f"The form's version is {form.text('version')[:80]!r}, and the file's name says {distribution.version}"
        )
    return distribution


def _version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        return ""


def _check_wheel(path: Path, distribution: Distribution) -> None:
    """Check that a file is a wheel, and that its metadata agrees with its name."""
    try:
        with zipfile.ZipFile(path) as wheel:
            found = [
                entry
                for entry in wheel.infolist()
                if entry.filename.endswith(".dist-info/METADATA") and entry.filename.count("/") == 1
            ]
            if len(found) != 1 or found[0].file_size > _METADATA:
                raise _wrong(f"{distribution.file} has no single METADATA of {_METADATA} bytes at most")
            with wheel.open(found[0]) as opened:
                metadata = BytesHeaderParser(policy=policy.compat32).parsebytes(opened.read(_METADATA))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError):
        raise _wrong(f"{distribution.file} is no wheel: its content is no sound zip archive") from None
    name, version = str(metadata["Name"] or ""), str(metadata["Version"] or "")
    if distributions.normalised(name) != distribution.package or _version(version) != distribution.version:
        raise _wrong(f"The metadata inside {distribution.file} say {name[:200]!r} {version[:80]!r}")
