"""A report on whether a repository is ready for production: each item is done, not yet done, or wrong and why.

Everything except the build file is read through Google's public APIs, and nothing is changed. `look` reads and
`judge` is pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import yaml  # type: ignore[import-untyped]
from google.api_core import exceptions
from google.cloud import run_v2
from google.cloud.artifactregistry_v1 import types
from google.cloud.devtools import cloudbuild_v1

from helpers import access, conventions, names, repositories, retention, snapshots
from helpers.fates import Snapshot
from helpers.target import ROOT

State = Literal["done", "not yet", "wrong"]
_MARKS: Final[Mapping[State, str]] = {"done": "✓", "not yet": "○", "wrong": "✗"}
_ACTIVE: Final = types.Repository.VulnerabilityScanningConfig.EnablementState.SCANNING_ACTIVE
# https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values: all others begin with _
_SUBSTITUTION: Final = re.compile(r"(?<!\$)(?:\$\$)*\$\{?([A-Za-z]\w*)")
_BUILT_IN: Final = re.compile(
    r"(PROJECT|BUILD|TRIGGER)_(ID|NUMBER|NAME|BUILD_CONFIG_PATH)|LOCATION|(COMMIT|SHORT)_SHA|REVISION_ID|REPO(_FULL)?_NAME"
    r"|(BRANCH|TAG|REF)_NAME|SERVICE_ACCOUNT(_EMAIL)?"
)


@dataclass(frozen=True)
class Line:
    """One line of the report. `key` identifies it in code, `notebook` is the one that teaches it."""

    key: str
    title: str
    notebook: int
    state: State = "done"
    reason: str = ""

    def __str__(self) -> str:
        head = f"{_MARKS[self.state]} {self.title}"
        return head if self.state == "done" else f"{head}\n  {self.state}: {self.reason} (notebook {self.notebook})"


@dataclass(frozen=True)
class Report:
    """The report on one image, at a time of the sandbox's clock or Google's."""

    image: names.Image
    taken: datetime
    lines: tuple[Line, ...]

    @property
    def done(self) -> int:
        """The number of lines that are done."""
        return sum(line.state == "done" for line in self.lines)

    def line(self, key: str) -> Line:
        """Return a line by its key. Raises KeyError."""
        return {line.key: line for line in self.lines}[key]

    def text(self) -> str:
        """Return the report for a notebook or a terminal."""
        return "\n".join([*(str(line) for line in self.lines), f"{self.done} of {len(self.lines)} done"])

    def markdown(self) -> str:
        """Return the report as a Markdown list of check boxes."""
        rows = [f"**{self.image}**, {self.taken:%Y-%m-%d}: {self.done} of {len(self.lines)} done", ""]
        for line in self.lines:
            why = "" if line.state == "done" else f": {line.state}, {line.reason}"
            rows.append(f"- [{'x' if line.state == 'done' else ' '}] {line.title}{why}")
        return "\n".join(rows)


@dataclass(frozen=True)
class Found:
    """The data of a report. `builds` are (status, images), newest first, or None where the API isn't enabled.

    `pushers` may push, and `wide` has those whose role is wider than needed, with the reason. `empty` are the build
    file's substitutions without a default value.
    """

    about: types.Repository
    versions: tuple[repositories.StoredImage, ...]
    stored: Snapshot
    builds: tuple[tuple[str, tuple[str, ...]], ...] | None
    deployed: tuple[str, ...] | None
    pushers: tuple[str, ...]
    wide: Mapping[str, str]
    steps: tuple[str, ...]
    empty: tuple[str, ...] = ()


def read(image: names.Image, me: str, build_file: Path = ROOT / "cloudbuild.yaml") -> Report:
    """Read the data and return the report. `me` is the caller as a policy names it, who isn't counted as a pusher.

    Raises google.api_core.exceptions.NotFound without the repository, and GoogleAPICallError.
    """
    return judge(image, look(image, build_file), me)


def look(image: names.Image, build_file: Path) -> Found:
    """Read the report's data. Raises as `read`."""
    repository = image.repository
    build = yaml.safe_load(build_file.read_text(encoding="utf-8")) if build_file.exists() else {}
    return Found(
        about=repositories.describe(repository),
        versions=tuple(one for one in repositories.images(repository) if one.image.image == image),
        stored=snapshots.read(repository, layers=False),
        builds=_builds(repository),
        deployed=_deployed(repository),
        pushers=access.who_can_push(repository),
        wide={one.binding.member: one.reason for one in access.wider_than_needed(repository)},
        steps=steps(build),
        empty=tuple(name for name, value in (build.get("substitutions") or {}).items() if not value)
        if isinstance(build, dict)
        else (),
    )


def judge(image: names.Image, found: Found, me: str = "") -> Report:
    """Return the report on the data. Pure."""
    answers = (
        ("repository", "A Docker repository in one region holds the images", 2, _repository(image, found.about)),
        ("tags", "Releases have SemVer tags, and every build has the tag of its commit", 5, _tags(image, found)),
        ("scanning", "Vulnerability scanning is on for the repository", 7, _scanning(found.about)),
        ("build", "Cloud Build builds and pushes the image", 6, _build(image, found.builds)),
        ("gate", "A gate stops images with CRITICAL findings", 7, _gate(found.steps, found.empty)),
        ("cleanup", "Cleanup policies keep the storage small", 8, _cleanup(found.stored)),
        ("push", "Only service accounts of builds may push", 9, _push(found, me)),
        ("latest", "What runs in production is named by digest, never by latest", 6, _latest(image, found.deployed)),
    )
    return Report(
        image,
        found.stored.taken,
        tuple(Line(key, title, notebook, *answer) for key, title, notebook, answer in answers),
    )


def steps(build: Any) -> tuple[str, ...]:
    """Return each step of a build file as one text with its id, program and arguments."""
    if not isinstance(build, dict):
        return ()
    return tuple(
        " ".join(str(part) for part in (one.get("id", ""), one.get("entrypoint", ""), *one.get("args", ()))).strip()
        + str(one.get("script", ""))
        for one in build.get("steps") or ()
    )


_Answer = tuple[State, str]
_DONE: Final[_Answer] = ("done", "")


def _repository(image: names.Image, about: types.Repository) -> _Answer:
    if about.format_ != types.Repository.Format.DOCKER:
        return "wrong", f"its format is {about.format_.name}, and it can't be changed"
    if "-" not in image.repository.location.id:
        return "wrong", f"{image.repository.location} is a multi-region; pulls are free only from the same continent"
    return _DONE


def _tags(image: names.Image, found: Found) -> _Answer:
    if not found.versions:
        return "not yet", f"there is no image {image.path}"
    children = {image.digest(one.digest) for one in found.stored.versions if one.image == image.path and one.parents}
    problems = conventions.check(found.versions, children=children)
    return ("wrong", _first([str(one) for one in problems])) if problems else _DONE


def _scanning(about: types.Repository) -> _Answer:
    config = about.vulnerability_scanning_config
    if config.enablement_state == _ACTIVE:
        return _DONE
    return "not yet", (config.enablement_state_reason or "it is switched off for this repository").rstrip(".")


def _build(image: names.Image, builds: Sequence[tuple[str, tuple[str, ...]]] | None) -> _Answer:
    if builds is None:
        return "not yet", "the Cloud Build API isn't enabled"
    mine = [status for status, images in builds if any(_is_of(one, image) for one in images)]
    if not mine:
        return "not yet", "no build has pushed this image"
    return _DONE if mine[0] == "SUCCESS" else ("wrong", f"the newest build ended with {mine[0]}")


def _gate(found: Sequence[str], empty: Sequence[str] = ()) -> _Answer:
    at = next(
        (place for place, one in enumerate(found) if re.search(r"images scan|vulnerabilities list|gate ", one)), -1
    )
    if at < 0:
        return "not yet", "no step of the build file scans the image"
    text = found[at]
    unknown = sorted({name for name in _SUBSTITUTION.findall(text) if not _BUILT_IN.fullmatch(name)})
    if unknown:
        return "wrong", f"Cloud Build refuses ${unknown[0]} in the gate: bash's variables are written $${unknown[0]}"
    if "vulnerabilityCount" in text:
        return "wrong", "the gate compares vulnerabilityCount, a field that no scan has"
    if "CRITICAL" not in text:
        return "wrong", "the gate doesn't say which severity it blocks"
    if any("run deploy" in one for one in found[:at]):
        return "wrong", "the image is deployed before the gate has looked at it"
    off = next((name for name in empty if re.search(rf"case \"?\$\{{?{name}\b", text)), "")
    return ("not yet", f"the gate is there, and off unless {off} names a severity") if off else _DONE


def _cleanup(stored: Snapshot) -> _Answer:
    rules = stored.in_force
    if not rules:
        return "not yet", "there is no policy"
    if stored.dry_run:
        return "wrong", "the policies are in place for a dry run only"
    # A keep policy that has nothing to keep today is harmless.
    idle = tuple(f"Policy {one.name} keeps nothing" for one in rules if one.keep)
    problems = [one for one in retention.preview(stored).warnings if not one.startswith(idle)]
    return ("wrong", _first(problems)) if problems else _DONE


def _push(found: Found, me: str) -> _Answer:
    others = [one for one in found.pushers if one != me]
    people = [one for one in others if not one.startswith("serviceAccount:")]
    if people:
        return "wrong", _first([f"{one} may push" for one in people])
    if not others:
        return "not yet", "no account of a build may push, and you push with your own"
    wide = [f"{one}: {found.wide[one]}" for one in others if one in found.wide]
    return ("wrong", _first(wide)) if wide else _DONE


def _latest(image: names.Image, deployed: Iterable[str] | None) -> _Answer:
    mine = [one for one in deployed or () if _is_of(one, image)]
    if not mine:
        return "not yet", "no service runs this image"
    by_tag = [one for one in mine if "@sha256:" not in one]
    return (
        ("wrong", _first([f"{one.rpartition('/')[2]} is a name that can move" for one in by_tag])) if by_tag else _DONE
    )


def _first(problems: Sequence[str]) -> str:
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return problems[0].rstrip(".") + more


def _is_of(reference: str, image: names.Image) -> bool:
    return re.split(r"@|:(?=[^/]*$)", reference, maxsplit=1)[0] == str(image)


def _builds(repository: names.Repository) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """Return the builds of the region and those in `global`, or None where the API isn't enabled."""
    client = cloudbuild_v1.CloudBuildClient(transport="rest")
    found: list[cloudbuild_v1.Build] = []
    try:
        for location in (repository.location.resource, f"{repository.project.resource}/locations/global"):
            found += client.list_builds(request={"project_id": repository.project.id, "parent": location})
    except exceptions.Forbidden as error:
        if not _is_disabled(error):
            raise
        return None
    found.sort(key=lambda one: one.create_time, reverse=True)
    return tuple((one.status.name, (*one.images, *(made.name for made in one.results.images))) for one in found)


def _deployed(repository: names.Repository) -> tuple[str, ...] | None:
    try:
        services = list(run_v2.ServicesClient(transport="rest").list_services(parent=repository.location.resource))
    except exceptions.Forbidden as error:
        if not _is_disabled(error):
            raise
        return None
    return tuple(container.image for one in services for container in one.template.containers)


def _is_disabled(error: exceptions.Forbidden) -> bool:
    return error.reason == "SERVICE_DISABLED" or "SERVICE_DISABLED" in str(error)
