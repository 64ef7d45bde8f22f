"""Names: what is taken, what is refused, and that text and value are each other's inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.names import BadName, Digest, Image, Location, Project, Repository, Tag

PROJECTS = st.from_regex(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True)
LOCATIONS = st.sampled_from(["us", "europe", "us-central1", "northamerica-northeast2", "europe-west12"])
REPOSITORIES = st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
COMPONENTS = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
IMAGES = st.builds(
    lambda project, location, repository, path: Image(
        Repository(Location(Project(project), location), repository), path
    ),
    PROJECTS,
    LOCATIONS,
    REPOSITORIES,
    PATHS,
)
TAGS = st.builds(Tag, IMAGES, st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True))
DIGESTS = st.builds(Digest, IMAGES, st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True))


@given(st.one_of(IMAGES, TAGS, DIGESTS))
def test_text_and_resource_name_give_the_value_back(name: Image | Tag | Digest) -> None:
    assert Image.parse(str(name)) == name
    assert Image.parse(name.resource) == name


@given(IMAGES)
def test_repository_gives_itself_back(image: Image) -> None:
    assert Repository.parse(str(image.repository)) == image.repository
    assert Repository.parse(image.repository.resource) == image.repository


def test_nested_image_is_escaped_as_google_does_it() -> None:
    tag = Tag.parse("us-central1-docker.pkg.dev/my-project/ml-images/team/nested:v1")
    assert tag.image.path == "team/nested"
    expected = "projects/my-project/locations/us-central1/repositories/ml-images/packages/team%2Fnested"
    assert tag.image.resource == expected
    assert tag.resource == f"{expected}/tags/v1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("us-central1-docker.pkg.dev/my-project/ml-images", "four parts"),
        ("localhost:5001/us-central1-docker.pkg.dev/my-project/r/i:v1", "registry of Artifact Registry"),
        ("gcr.io/my-project/i", "registry of Artifact Registry"),
        ("https://us-central1-docker.pkg.dev/my-project/r/i", "is an address"),
        ("us-central1-docker.pkg.dev/my-project/r/i:v1@sha256:" + "0" * 64, "tag and a digest"),
        ("us-central1-docker.pkg.dev/my-project/r/i@sha256:12", "64 hexadecimal"),
        ("us-central1-docker.pkg.dev/my-project/r/i:", "a tag"),
        ("us-central1-docker.pkg.dev/my-project/r/I:v1", "lower-case"),
        ("us-central1-docker.pkg.dev/my-project/r/a//b", "lower-case"),
        ("us-central1-docker.pkg.dev/my-project/ML_Images/i", "repository id"),
        ("us-central1-docker.pkg.dev/My Project/r/i", "project id"),
        ("us-central1-docker.pkg.dev/123456789012/r/i", "project id"),
        ("us_central1-docker.pkg.dev/my-project/r/i", "a location"),
        ("projects/my-project/locations/us/repositories/r/packages/i/files/x", "neither a tag nor a version"),
        ("projects/my-project/locations/us/repositories/r", "packages/IMAGE"),
        ("", "registry of Artifact Registry"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(BadName, match=says):
        Image.parse(text)


def test_tag_and_digest_insist() -> None:
    image = "us-central1-docker.pkg.dev/my-project/r/i"
    with pytest.raises(BadName, match="carries no tag"):
        Tag.parse(image)
    with pytest.raises(BadName, match="carries no digest"):
        Digest.parse(f"{image}:v1")
    with pytest.raises(BadName, match="three parts"):
        Repository.parse(image)
