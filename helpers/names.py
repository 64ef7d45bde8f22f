"""The names of Artifact Registry as immutable values.

`str()` returns the canonical text, `.resource` the resource name in Google's APIs. Every `parse` is strict and raises
`BadName`, whose message says what is wrong and what to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol, Self, TypeVar
from urllib.parse import quote, unquote

_PROJECT: Final = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_LOCATION: Final = re.compile(r"[a-z]+(-[a-z]+[0-9]+)?")
_REPOSITORY: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_COMPONENT: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HOST: Final = re.compile(r"(?P<location>.+)-docker\.pkg\.dev")
_RESOURCE: Final = re.compile(
    r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/repositories/(?P<repository>[^/]+)(?P<rest>/.+)?"
)
_SHAPE: Final = "LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE"


class BadName(ValueError):
    """A text isn't a valid name. The message says why and what to write instead."""


def _require(pattern: re.Pattern[str], text: str, what: str, rule: str) -> None:
    if not pattern.fullmatch(text):
        raise BadName(f"{text!r} can't be {what}: {rule}")


@dataclass(frozen=True, slots=True, order=True)
class Project:
    """A project by its id (`my-project`), never by its number or its display name."""

    id: str

    def __post_init__(self) -> None:
        _require(
            _PROJECT,
            self.id,
            "a project id",
            "write 6 to 30 lower-case letters, digits and hyphens, starting with a letter and not ending in a hyphen. "
            "`gcloud projects list` shows yours in its first column.",
        )

    def __str__(self) -> str:
        return self.id

    @property
    def resource(self) -> str:
        """`projects/PROJECT`."""
        return f"projects/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `my-project` or `projects/my-project`. Raises BadName."""
        return cls(text.removeprefix("projects/"))


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A region (`us-central1`) or multi-region (`us`) of a project."""

    project: Project
    id: str

    def __post_init__(self) -> None:
        _require(_LOCATION, self.id, "a location", "write a region such as us-central1, or us, europe or asia.")

    def __str__(self) -> str:
        return self.id

    @property
    def host(self) -> str:
        """The registry's host in this location: `us-central1-docker.pkg.dev`."""
        return f"{self.id}-docker.pkg.dev"

    @property
    def resource(self) -> str:
        """`projects/PROJECT/locations/LOCATION`."""
        return f"{self.project.resource}/locations/{self.id}"


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository. `str()` returns `us-central1-docker.pkg.dev/PROJECT/REPOSITORY`."""

    location: Location
    id: str

    def __post_init__(self) -> None:
        _require(
            _REPOSITORY,
            self.id,
            "a repository id",
            "write up to 63 lower-case letters, digits and hyphens; start with a letter, end with no hyphen.",
        )

    def __str__(self) -> str:
        return f"{self.location.host}/{self.location.project}/{self.id}"

    @property
    def project(self) -> Project:
        """The project that holds the repository."""
        return self.location.project

    @property
    def resource(self) -> str:
        """`projects/PROJECT/locations/LOCATION/repositories/REPOSITORY`."""
        return f"{self.location.resource}/repositories/{self.id}"

    def image(self, path: str) -> Image:
        """Return the image `path` (`ml-predictor`, `team/nested`) of this repository. Raises BadName."""
        return Image(self, path)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the registry's form or the resource name. Raises BadName."""
        resource = _RESOURCE.fullmatch(text)
        if resource:
            if resource["rest"]:
                raise BadName(
                    f"{text!r} names something inside a repository: stop after /repositories/{resource['repository']}."
                )
            return cls(Location(Project(resource["project"]), resource["location"]), resource["repository"])
        parts = text.split("/")
        if len(parts) != 3:
            raise BadName(
                f"{text!r} can't be a repository: write LOCATION-docker.pkg.dev/PROJECT/REPOSITORY, three parts."
            )
        host, project, repository = parts
        return cls(Location(Project(project), _location_of(host, text)), repository)


@dataclass(frozen=True, slots=True, order=True)
class Image:
    """An image's name without tag or digest. `path` may be nested: `team/ml-predictor`."""

    repository: Repository
    path: str

    def __post_init__(self) -> None:
        if not self.path:
            raise BadName(f"The image's name is missing after {self.repository}: write {_SHAPE}.")
        for component in self.path.split("/"):
            _require(
                _COMPONENT,
                component,
                f"part of the image name {self.path!r}",
                "write lower-case letters and digits; between them a dot, one or two underscores, or hyphens.",
            )

    def __str__(self) -> str:
        return f"{self.repository}/{self.path}"

    @property
    def resource(self) -> str:
        """`…/packages/IMAGE`, with `%2F` for the slash of a nested name, as Google writes it."""
        return f"{self.repository.resource}/packages/{quote(self.path, safe='')}"

    def tag(self, name: str) -> Tag:
        """Return the tag `name` of this image. Raises BadName."""
        return Tag(self, name)

    def digest(self, value: str) -> Digest:
        """Return the version of this image with the digest `value` (`sha256:…`). Raises BadName."""
        return Digest(self, value)

    @classmethod
    def parse(cls, text: str) -> Image | Tag | Digest:
        """Read a canonical image reference or a resource name.

        Returns a Tag for `…/image:tag`, a Digest for `…/image@sha256:…`, an Image for neither. Raises BadName.
        """
        if text.startswith("projects/"):
            return _parse_resource(text)
        if "://" in text:
            raise BadName(f"{text!r} is an address: leave out everything up to and including '://'.")
        name, at, digest = text.partition("@")
        head, _, last = name.rpartition("/")
        last, colon, tag = last.partition(":")
        if at and colon:
            raise BadName(
                f"{text!r} carries a tag and a digest: keep one of them. The digest is the one that never moves."
            )
        parts = f"{head}/{last}".split("/")
        host = parts[0]
        if not _HOST.fullmatch(host):
            raise BadName(f"{text!r} doesn't begin with a registry of Artifact Registry: write {_SHAPE}.")
        if len(parts) < 4:
            raise BadName(f"{text!r} doesn't name an image: write {_SHAPE}, four parts or more with a slash between.")
        repository = Repository(Location(Project(parts[1]), _location_of(host, text)), parts[2])
        image = cls(repository, "/".join(parts[3:]))
        if at:
            return Digest(image, digest)
        return Tag(image, tag) if colon else image


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag, which can move to another version unless the repository has immutable tags."""

    image: Image
    name: str

    def __post_init__(self) -> None:
        _require(
            _TAG,
            self.name,
            "a tag",
            "write 1 to 128 letters, digits, underscores, dots and hyphens, not starting with a dot or a hyphen.",
        )

    def __str__(self) -> str:
        return f"{self.image}:{self.name}"

    @property
    def resource(self) -> str:
        """`…/packages/IMAGE/tags/TAG`."""
        return f"{self.image.resource}/tags/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Tag:
        """Read `…/image:tag`. Raises BadName when the text has no tag."""
        return _only(Tag, text, "tag: end it with a colon and the tag, as in …/IMAGE:v1.")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A version of an image, by the digest of its manifest."""

    image: Image
    value: str

    def __post_init__(self) -> None:
        _require(_DIGEST, self.value, "a digest", "write sha256: and 64 hexadecimal digits in lower case.")

    def __str__(self) -> str:
        return f"{self.image}@{self.value}"

    @property
    def resource(self) -> str:
        """`…/packages/IMAGE/versions/sha256:…`."""
        return f"{self.image.resource}/versions/{self.value}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `…/image@sha256:…`. Raises BadName when the text has no digest."""
        return _only(Digest, text, "digest: end it with @sha256: and 64 hexadecimal digits.")


class Tagged(Protocol):
    """A version with a digest and tags, as `repositories.images` lists it."""

    @property
    def image(self) -> Digest:
        """The version, by its digest."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that point at it."""


_Named = TypeVar("_Named", Tag, Digest)


def _location_of(host: str, text: str) -> str:
    match = _HOST.fullmatch(host)
    if not match:
        raise BadName(f"{text!r} doesn't begin with a registry of Artifact Registry: write LOCATION-docker.pkg.dev/…")
    return match["location"]


def _only(kind: type[_Named], text: str, lacks: str) -> _Named:
    parsed = Image.parse(text)
    if not isinstance(parsed, kind):
        path = parsed.path if isinstance(parsed, Image) else parsed.image.path
        raise BadName(f"{text!r} carries no {lacks.replace('IMAGE', path)}")
    return parsed


def _parse_resource(text: str) -> Image | Tag | Digest:
    match = _RESOURCE.fullmatch(text)
    rest = (match["rest"] or "").removeprefix("/").split("/") if match else []
    if not match or len(rest) not in (2, 4) or rest[0] != "packages":
        raise BadName(f"{text!r} isn't the resource name of an image: write projects/…/repositories/…/packages/IMAGE.")
    repository = Repository(Location(Project(match["project"]), match["location"]), match["repository"])
    if "/" in unquote(rest[1]) and quote(unquote(rest[1]), safe="") != rest[1]:
        raise BadName(f"{rest[1]!r} isn't escaped as Google does it: write %2F for the slash of a nested image.")
    image = Image(repository, unquote(rest[1]))
    if len(rest) == 2:
        return image
    match rest[2]:
        case "tags":
            return Tag(image, rest[3])
        case "versions":
            return Digest(image, rest[3])
    raise BadName(f"{text!r} names neither a tag nor a version: write …/tags/TAG or …/versions/sha256:….")
