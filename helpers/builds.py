"""Cloud Build: submit a build, follow its steps, read its result. REST, with the default credentials."""

from __future__ import annotations

import io
import re
import secrets
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]
from google.api_core import exceptions
from google.cloud.devtools import cloudbuild_v1
from google.cloud.devtools.cloudbuild_v1 import types
from google.protobuf import json_format

from helpers import names, target, waiting
from helpers.transport import clients, rest

_STORAGE: Final = "https://storage.googleapis.com"
_LOGGING: Final = "https://logging.googleapis.com/v2/entries:list"
# Cloud Logging shows an entry some seconds after it was written.
_LOG_SECONDS: Final = 20.0
_LAST_LINES: Final = 12
_RUNNING: Final = frozenset({"STATUS_UNKNOWN", "PENDING", "QUEUED", "WORKING"})
_MARKS: Final = {
    "SUCCESS": "✓",
    "FAILURE": "✗",
    "TIMEOUT": "✗",
    "CANCELLED": "✗",
    "INTERNAL_ERROR": "✗",
    "WORKING": "…",
}


class BuildFailed(RuntimeError):
    """A build didn't end with SUCCESS. The message is Cloud Build's, with the last lines of the failed step."""


@dataclass(frozen=True)
class Step:
    """One step: its id (or its number), its status, and how long it ran."""

    id: str
    status: str
    seconds: float


@dataclass(frozen=True)
class Build:
    """A build at the time of reading. `images` are the pushed names and digests, empty until it has succeeded."""

    id: str
    status: str
    detail: str
    steps: tuple[Step, ...]
    images: tuple[tuple[str, str], ...]
    substitutions: Mapping[str, str]

    @property
    def running(self) -> bool:
        """Whether the build hasn't ended yet."""
        return self.status in _RUNNING

    def digest(self, tag: names.Tag) -> names.Digest:
        """Return the digest that the build pushed under a tag. Raises KeyError when it pushed none."""
        return tag.image.digest(dict(self.images)[str(tag)])


def read(config: Path, substitutions: Mapping[str, str] | None = None) -> types.Build:
    """Return a build from its YAML file, with substitutions that override the file's own.

    Raises OSError, yaml.YAMLError, and google.protobuf.json_format.ParseError for an unknown field.
    """
    message = types.Build.pb()()
    json_format.ParseDict(yaml.safe_load(config.read_text(encoding="utf-8")), message)
    build: types.Build = types.Build.wrap(message)
    for key, value in (substitutions or {}).items():
        build.substitutions[key] = value
    return build


def submit(location: names.Location, build: types.Build, source: Iterable[Path] = (), root: Path = Path()) -> str:
    """Upload the files, create the build, and return its id without waiting for the build.

    In the source, files are named relative to `root`. Without files the build has no source.

    Raises google.api_core.exceptions.GoogleAPICallError, which for an invalid build is BadRequest.
    """
    files = tuple(source)
    if files:
        bucket = f"{location.project}_cloudbuild"
        # The run's id in the name shows whose object it is in a shared bucket, since objects have no labels.
        name = f"source/{target.current().run}/{time.time():.6f}-{secrets.token_hex(16)}.tgz"
        _upload(location, bucket, name, _archive(files, root))
        build.source = types.Source(storage_source=types.StorageSource(bucket=bucket, object_=name))
    operation = _client().create_build(
        request={"parent": location.resource, "project_id": str(location.project), "build": build}
    )
    metadata: Any = operation.metadata
    return str(metadata.build.id)


def get(location: names.Location, build_id: str) -> Build:
    """Return a build by its id. Raises google.api_core.exceptions.NotFound."""
    return _build(_client().get_build(request={"name": f"{location.resource}/builds/{build_id}"}))


def recent(location: names.Location) -> tuple[Build, ...]:
    """Return the first page of the location's builds, newest first."""
    request = {"parent": location.resource, "project_id": str(location.project)}
    return tuple(_build(found) for found in next(iter(_client().list_builds(request=request).pages)).builds)


def follow(
    location: names.Location, build_id: str, *, seconds: float = 900.0, write: Callable[[str], object] = print
) -> Build:
    """Write one line whenever a step ends, until the build has ended. Write the last lines of a failed step too.

    Raises BuildFailed when the build doesn't succeed, TimeoutError after `seconds`.
    """
    written: set[str] = set()
    for _ in waiting.attempts(seconds, longest=0.5):
        build = get(location, build_id)
        for step in build.steps:
            if step.id not in written and step.status not in _RUNNING:
                written.add(step.id)
                write(line(step))
        if not build.running:
            if build.status != "SUCCESS":
                raise BuildFailed("\n".join(_why(location, build, write)))
            return build
    raise TimeoutError(f"Build {build_id} still runs after {seconds:g} seconds. `gcloud builds log` shows where.")


def _why(location: names.Location, build: Build, write: Callable[[str], object]) -> list[str]:
    lines = last_lines(location, build)
    reason = [f"{build.status}: {build.detail or 'no reason was given'}", *(f"    {text}" for text in lines)]
    for text in reason[1:]:
        write(text)
    write(f"The whole log: gcloud builds log {build.id} --region={location.id}")
    return reason


def last_lines(location: names.Location, build: Build, count: int = _LAST_LINES) -> tuple[str, ...]:
    """Return the last lines of the failed step from Cloud Logging, or none where the log isn't there.

    Without a failed step, return the log's last lines, which say why the build couldn't start or push.
    """
    failed = next((place for place, step in enumerate(build.steps) if step.status in ("FAILURE", "TIMEOUT")), None)
    # Cloud Build names the step before each of its lines, unless there is only one.
    mark = f"Step #{failed}" if failed is not None and len(build.steps) > 1 else ""
    found: list[str] = []
    for _ in waiting.attempts(_LOG_SECONDS):
        found = [text for text in log(location, build.id) if text.strip()]
        if any(text.startswith(("ERROR", "TIMEOUT", "CANCELLED")) for text in found):
            break
    else:
        # The log is still being written, or it is in Cloud Storage.
        if not found:
            return ()
    if mark:
        found = [text.partition(": ")[2] for text in found if re.match(rf"{mark}(?: - \"[^\"]*\")?: ", text)]
    return tuple(found[-count:])


def log(location: names.Location, build_id: str) -> list[str]:
    """Return a build's last 200 lines from Cloud Logging. Raises google.api_core.exceptions.GoogleAPICallError."""
    query = {
        "resourceNames": [location.project.resource],
        "filter": f'resource.type="build" resource.labels.build_id="{build_id}" logName:"cloudbuild"',
        "orderBy": "timestamp desc",
        "pageSize": 200,
    }
    entries = rest.call("POST", _LOGGING, json=query).get("entries", [])
    return [entry["textPayload"] for entry in reversed(entries) if "textPayload" in entry]


def of_commit(location: names.Location, sha: str, *, trigger: str = "", seconds: float = 60.0) -> str:
    """Wait for a trigger's build of a commit, and return the newest one's id.

    Raises TimeoutError when there is none.
    """
    for _ in waiting.attempts(seconds, longest=1.0):
        for build in recent(location):
            named = build.substitutions.get("TRIGGER_NAME", "")
            if build.substitutions.get("COMMIT_SHA") == sha and named and trigger in ("", named):
                return build.id
    raise TimeoutError(f"No trigger has begun a build of {sha[:7]} within {seconds:g} seconds.")


def line(step: Step) -> str:
    """Return a step as a line such as `✓ build  12 s`."""
    return f"{_MARKS.get(step.status, '○')} {step.id}" + (f"  {step.seconds:.0f} s" if step.seconds >= 1 else "")


@clients.kept
def _client() -> cloudbuild_v1.CloudBuildClient:
    return cloudbuild_v1.CloudBuildClient(transport="rest")


def _build(found: types.Build) -> Build:
    steps = []
    for place, step in enumerate(found.steps):
        timing: Any = step.timing
        lasted = (timing.end_time - timing.start_time).total_seconds() if timing.end_time else 0.0
        steps.append(Step(step.id or f"step {place}", types.Build.Status(step.status).name, lasted))
    return Build(
        found.id,
        types.Build.Status(found.status).name,
        found.status_detail,
        tuple(steps),
        tuple((image.name, image.digest) for image in found.results.images),
        dict(found.substitutions),
    )


def _archive(source: Iterable[Path], root: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path in sorted(source):
            archive.add(path, arcname=str(path.relative_to(root)))
    return out.getvalue()


def _upload(location: names.Location, bucket: str, name: str, content: bytes) -> None:
    try:
        rest.call("GET", f"{_STORAGE}/storage/v1/b/{bucket}")
    except exceptions.NotFound:
        rest.call("POST", f"{_STORAGE}/storage/v1/b", params={"project": str(location.project)}, json={"name": bucket})
    rest.call(
        "POST",
        f"{_STORAGE}/upload/storage/v1/b/{bucket}/o",
        seconds=300,
        params={"uploadType": "media", "name": name},
        data=content,
        headers={"Content-Type": "application/gzip"},
    )
