"""Weights beside the image: pushed, pulled by digest with the right to it, and nothing else than what was asked for."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import access, identity, names, projects, registry, repositories, target, weights
from helpers.checks import eventually
from helpers.registry import RegistryRefused

CONTENT = b"\x00\x01weights"


@pytest.fixture
def image(in_world: target.Target) -> Iterator[names.Image]:
    projects.enable(in_world.location.project, projects.ARTIFACT_REGISTRY)
    found = names.Repository(in_world.location, f"weights-{secrets.token_hex(3)}")
    repositories.create(found)
    yield found.image("ml-weights")
    repositories.delete(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "iris.bin"
    path.write_bytes(CONTENT)
    return path


def test_what_was_pushed_is_pulled_by_its_digest(image: names.Image, file: Path, tmp_path: Path) -> None:
    digest = weights.push(image.tag("1.0.0"), file)
    pulled = weights.pull(digest, tmp_path / "new" / "folder")
    assert (pulled.name, pulled.read_bytes()) == ("iris.bin", CONTENT)
    assert [one.name for one in pulled.parent.iterdir()] == ["iris.bin"]
    assert weights.push(image.tag("again"), file).image == image


def test_the_manifest_is_modelpack_s(image: names.Image, file: Path) -> None:
    told = weights.manifest(weights.push(image.tag("1.0.0"), file))
    assert told["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert told["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    (layer,) = told["layers"]
    assert layer["mediaType"] == "application/vnd.cncf.model.weight.v1.raw"
    assert layer["annotations"] == {"org.cncf.model.filepath": "iris.bin"}
    assert told["annotations"]["org.opencontainers.image.version"] == "1.0.0"
    # As it is: neither packed nor compressed.
    assert registry.get(image, f"blobs/{layer['digest']}") == CONTENT


def test_who_may_not_pull_gets_nothing_and_who_may_does(
    image: names.Image, file: Path, tmp_path: Path, in_world: target.Target
) -> None:
    digest = weights.push(image.tag("1.0.0"), file)
    projects.enable(in_world.location.project, "iam.googleapis.com", "iamcredentials.googleapis.com")
    server = access.account(in_world.location.project, "server", secrets.token_hex(3))
    access.create_account(server, in_world.run)
    access.grant(server, access.TOKEN_CREATOR, identity.who_am_i().member)
    credentials = eventually(lambda: identity.as_service_account(str(server)))
    with pytest.raises(RegistryRefused, match=r"artifactregistry\.repositories\.downloadArtifacts"):
        weights.pull(digest, tmp_path / "pulled", credentials=credentials)
    assert not (tmp_path / "pulled").exists()
    access.grant(image.repository, "roles/artifactregistry.reader", server.member)
    assert weights.pull(digest, tmp_path / "pulled", credentials=credentials).read_bytes() == CONTENT


def test_an_image_is_no_weights(image: names.Image, tmp_path: Path) -> None:
    digest = registry.push(image.tag("image"), [{"a.txt": "a"}])
    with pytest.raises(weights.WeightsBroken, match="is not one file of weights"):
        weights.pull(digest, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_name_from_outside_leads_out_of_no_folder(image: names.Image, file: Path, tmp_path: Path) -> None:
    body = weights.manifest(weights.push(image.tag("1.0.0"), file))
    body["layers"][0]["annotations"] = {weights.FILE_PATH: "../../escaped.bin"}
    digest = registry.put_manifest(image, "odd", body)
    assert weights.pull(digest, tmp_path / "a" / "b") == tmp_path / "a" / "b" / "escaped.bin"


def test_other_bytes_than_the_digest_names_are_not_written(
    image: names.Image, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that gives something else can't be had for real: here what comes is changed on its way."""
    digest = weights.push(image.tag("1.0.0"), file)
    real = registry.get

    def changed(image: names.Image, path: str, **options: object) -> bytes:
        content = real(image, path, **options)
        return content[:-1] + b"!" if path.startswith("blobs/") else content

    monkeypatch.setattr(registry, "get", changed)
    with pytest.raises(weights.WeightsBroken, match="was asked for, and"):
        weights.pull(digest, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


def test_layers_are_fetched_checked_and_decompressed(image: names.Image) -> None:
    digest = registry.push(image.tag("image"), [{"a.txt": "a" * 100_000}, {"b.txt": "b"}])
    came, became = registry.layers_unpacked(digest)
    assert came == sum(registry.manifest(digest).layers.values())
    assert became > 100_000 > came
