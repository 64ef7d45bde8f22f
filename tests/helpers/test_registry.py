"""Manifests, small images and tags over the registry's and Google's own interfaces."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from google.api_core.exceptions import BadRequest, NotFound

from helpers import names, projects, registry, repositories, tags, target
from helpers.registry import RegistryRefused


@pytest.fixture
def image(in_world: target.Target) -> Iterator[names.Image]:
    projects.enable(in_world.location.project, projects.ARTIFACT_REGISTRY)
    found = names.Repository(in_world.location, f"plain-{secrets.token_hex(3)}")
    repositories.create(found)
    yield found.image("team/web")
    repositories.delete(found)


def test_a_pushed_image_is_listed_with_its_digest_and_bytes(image: names.Image) -> None:
    digest = registry.push(image.tag("1.0.0"), [{"a.txt": "a"}, {"b.txt": "b"}])
    (stored,) = repositories.images(image.repository)
    assert (stored.image, stored.tags) == (digest, ("1.0.0",))
    found = registry.manifest(image.tag("1.0.0"))
    assert found.digest == digest.value
    assert sum(found.blobs.values()) == stored.size
    assert len(found.blobs) == 3


def test_the_same_files_give_the_same_layers_and_the_same_digest(image: names.Image) -> None:
    first = registry.push(image.tag("a"), [{"a.txt": "a"}])
    assert registry.push(image.tag("b"), [{"a.txt": "a"}]) == first


def test_a_revised_version_shares_every_layer_and_has_the_new_variable(image: names.Image) -> None:
    first = registry.push(image.tag("a"), [{"a.txt": "a"}])
    second = registry.revise(image.tag("a"), image.tag("b"), {"COMMIT": "abc1234"})
    blobs = [set(registry.manifest(one).blobs) for one in (first, second)]
    assert first != second
    assert len(blobs[0] & blobs[1]) == 1


def test_an_index_lists_its_platforms_and_holds_its_children(image: names.Image) -> None:
    parts = {
        f"linux/{one}": registry.push(image.tag(one), [{"a.txt": "a"}], architecture=one) for one in ("amd64", "arm64")
    }
    index = registry.push_index(image.tag("1.0.0"), parts)
    found = registry.manifest(index)
    assert found.platforms == {digest.value: platform for platform, digest in parts.items()}
    assert set(registry.manifests([index, *parts.values()])) == {index, *parts.values()}


def test_an_attested_image_is_an_index_an_image_and_an_attestation_as_buildx_pushes_them(image: names.Image) -> None:
    plain = registry.push(image.tag("1.0.0"), [{"a.txt": "a"}, {"b.txt": "b"}])
    index = registry.attest(image.tag("1.0.0"))
    rows = {one.image: one.tags for one in repositories.images(image.repository)}
    found = registry.manifest(index)
    assert found.children[0] == plain.value
    attestation = image.digest(found.children[1])
    assert rows == {index: ("1.0.0",), plain: (), attestation: ()}
    assert list(found.platforms.values()) == ["linux/amd64", "unknown/unknown"]
    assert found.runs == plain.value
    assert registry.attest(image.tag("1.0.0")) == index
    body = registry._call("GET", image, f"manifests/{index.value}", headers={"Accept": registry.INDEX}).json()
    assert body["manifests"][1]["annotations"] == {
        "vnd.docker.reference.digest": plain.value,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    (layer,) = registry.manifest(attestation).layers
    statement = registry._call("GET", image, f"blobs/{layer}").json()
    assert statement["subject"][0]["digest"] == {"sha256": plain.value.removeprefix("sha256:")}


def test_an_index_is_looked_into_and_revised_by_its_linux_amd64_image(image: names.Image) -> None:
    plain = registry.push(image.tag("1.0.0"), [{"a.txt": "a"}, {"b.txt": "b"}])
    before = repositories.layer_sizes(image.tag("1.0.0"))
    registry.attest(image.tag("1.0.0"))
    assert registry.image_manifest(image.tag("1.0.0")).digest == plain.value
    assert repositories.layer_sizes(image.tag("1.0.0")) == before
    assert len(before) == 2
    revised = registry.revise(image.tag("1.0.0"), image.tag("b"), {"COMMIT": "abc1234"})
    assert not registry.manifest(revised).children
    assert repositories.layer_sizes(image.tag("b")) == before


def test_an_index_for_other_machines_has_no_image_to_look_into(image: names.Image) -> None:
    arm = registry.push(image.tag("arm"), [{"a.txt": "a"}], architecture="arm64")
    index = registry.push_index(image.tag("1.0.0"), {"linux/arm64": arm})
    with pytest.raises(RegistryRefused, match="without an image for linux/amd64"):
        registry.image_manifest(index)


def test_what_is_not_there_is_refused_with_the_registrys_words(image: names.Image) -> None:
    with pytest.raises(RegistryRefused, match="MANIFEST_UNKNOWN") as caught:
        registry.manifest(image.tag("nothing"))
    assert caught.value.status == 404


def test_a_tag_is_made_moved_and_removed_without_an_image_travelling(image: names.Image) -> None:
    first, second = (registry.push(image.tag(name), [{"a.txt": name}]) for name in ("a", "b"))
    tags.point(image.tag("production"), first)
    tags.point(image.tag("production"), second)
    assert tags.where(image) == {"a": first, "b": second, "production": second}
    assert tags.remove(image.tag("production"))
    assert not tags.remove(image.tag("production"))
    with pytest.raises(NotFound):
        tags.point(image.tag("production"), image.digest(f"sha256:{'0' * 64}"))


def test_where_tags_are_immutable_none_moves_and_none_goes(in_world: target.Target) -> None:
    projects.enable(in_world.location.project, projects.ARTIFACT_REGISTRY)
    repository = names.Repository(in_world.location, f"fixed-{secrets.token_hex(3)}")
    repositories.create(repository, immutable_tags=True)
    image = repository.image("web")
    first, second = (registry.push(image.tag(name), [{"a.txt": name}]) for name in ("1.0.0", "1.0.1"))
    with pytest.raises(BadRequest, match="immutability"):
        tags.point(image.tag("1.0.0"), second)
    with pytest.raises(BadRequest, match="immutability"):
        tags.remove(image.tag("1.0.0"))
    assert tags.where(image)["1.0.0"] == first
    repositories.delete(repository)
