"""What a Python repository takes, serves and refuses, request by request."""

from __future__ import annotations

import re
import secrets

import pytest
from google.cloud import artifactregistry_v1 as ar

from tests.sandbox import conftest as shared
from tests.sandbox.package_hosting import API, create
from tests.sandbox.python_repositories import wheels
from tests.sandbox.python_repositories.conftest import Held, plain, token_of

NAMES = ("ml-model", "ML.Model", "ml_model")


def files(held: Held, package: str) -> list[str]:
    answer = held.session.get(f"{held.url}/simple/{package}/")
    if answer.status_code == 404:
        return []
    assert answer.status_code == 200, answer.text
    return re.findall(r">([^<>]+)</a>", answer.text)


def test_the_index_names_files_with_their_hashes(held: Held) -> None:
    assert held.upload("ml-model", "1.0", fields={"requires_python": ">=3.8"}).status_code == 200
    page = held.session.get(f"{held.url}/simple/ml-model/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    (found,) = re.findall(r'<a href="([^"#]+)#sha256=([0-9a-f]{64})" data-requires-python="&gt;=3.8">', page.text)
    answer = held.session.get(f"{held.url}/simple/ml-model/{found[0]}")
    assert answer.url == f"{held.url}/ml-model/ml_model-1.0-py3-none-any.whl"
    assert answer.content == wheels.wheel("ml-model", "1.0")
    part = held.session.get(answer.url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, answer.content[10:20])
    assert '<a href="ml-model/">ml-model</a>' in held.session.get(f"{held.url}/simple/").text


@pytest.mark.parametrize("name", NAMES)
def test_names_are_normalised(held: Held, name: str) -> None:
    assert held.upload(name, "1.0").status_code == 200
    moved = held.session.get(f"{held.url}/simple/{name}", allow_redirects=False)
    assert moved.headers["Location"] == f"{held.url}/simple/ml-model/"
    assert files(held, name) == ["ml_model-1.0-py3-none-any.whl"]


def test_a_file_never_changes(held: Held) -> None:
    assert held.upload("ml-model", "1.0").status_code == 200
    for content in (wheels.wheel("ml-model", "1.0"), wheels.wheel("ml-model", "1.0", text="# other\n")):
        again = held.upload("ml-model", "1.0", content)
        assert (again.status_code, again.text) == (400, "Requested entity already exists.\n")
        assert again.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert held.session.get(f"{held.url}/ml-model/ml_model-1.0-py3-none-any.whl").content == wheels.wheel(
        "ml-model", "1.0"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({":action": "submit"}, "not 'file_upload'"),
        ({"sha256_digest": "0" * 64}, "The file's sha256 is"),
        ({"md5_digest": "0" * 32}, "The file's md5 is"),
        ({"name": "other"}, "the file belongs to ml-model"),
        ({"name": "../other"}, "the file belongs to ml-model"),
        ({"version": "2.0"}, "the file's name says 1.0"),
        ({"version": "one"}, "the file's name says 1.0"),
        ({"file": "ml_model.whl"}, "is not the name of a wheel"),
        ({"file": "ml_model-1.0.exe"}, "is not the name of a wheel"),
        ({"file": "..%2f..%2fml_model-1.0-py3-none-any.whl"}, "is not the name of a wheel"),
        ({"gpg_signature": "x"}, "keeps no gpg_signature"),
        ({"version": "1" * 70_000}, "longer than"),
    ],
)
def test_a_form_that_does_not_fit(held: Held, change: dict[str, str], says: str) -> None:
    fields = dict(change)
    answer = held.upload("ml-model", "1.0", file=fields.pop("file", ""), fields=fields)
    assert (answer.status_code, says in answer.text) == (400, True), answer.text
    assert held.get("packages").json() == {}
    assert held.get("files").json() == {}


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("no archive", "no sound zip archive"),
        ("cut short", "no sound zip archive"),
        ("another name inside", "say 'other' '1.0'"),
        ("another version inside", "say 'ml-model' '2.0'"),
        ("no metadata", "has no single METADATA"),
    ],
)
def test_a_wheel_that_is_none(held: Held, kind: str, says: str) -> None:
    content = {
        "no archive": b"PK\x03\x04 and nothing more",
        "cut short": wheels.wheel("ml-model", "1.0")[:-30],
        "another name inside": wheels.wheel("ml-model", "1.0", metadata="Name: other\nVersion: 1.0\n"),
        "another version inside": wheels.wheel("ml-model", "1.0", metadata="Name: ml-model\nVersion: 2.0\n"),
        "no metadata": b"PK\x05\x06" + bytes(18),  # an archive without a file
    }[kind]
    answer = held.upload("ml-model", "1.0", content)
    assert (answer.status_code, says in answer.text) == (400, True), answer.text
    assert held.get("files").json() == {}


@pytest.mark.parametrize("body", ["", "no form", "--b\r\n\r\n", "--b\r\nX: y\r\n\r\nvalue\r\n--b--", "--bx"])
def test_a_body_that_is_no_form(held: Held, body: str) -> None:
    answer = held.session.post(
        f"{held.url}/", data=body.encode(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 400, answer.text
    assert held.session.post(f"{held.url}/", json={}).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/simple/..%2f..%2fetc/",
        "/ml-model/..%2fml_model-1.0-py3-none-any.whl",
        "/simple/%00/",
        "/a/b/c",
    ],
)
def test_a_path_that_leads_elsewhere(held: Held, path: str) -> None:
    assert held.upload("ml-model", "1.0").status_code == 200
    assert held.session.get(f"{held.url}{path}").status_code == 404


def test_who_may_read_and_who_may_upload(held: Held) -> None:
    assert held.upload("ml-model", "1.0").status_code == 200
    page = f"{held.url}/simple/ml-model/"
    reader, stranger = (shared.account(held.session) for _ in range(2))
    policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": [f"serviceAccount:{reader}"]}]}
    assert held.session.post(f"{API}/{held.name}:setIamPolicy", json={"policy": policy}).status_code == 200
    tokens = {email: token_of(held.session, email) for email in (reader, stranger)}
    assert plain(page, tokens[reader]).status_code == 200
    refused = plain(page, tokens[stranger])
    assert refused.status_code == 403
    assert "'artifactregistry.repositories.downloadArtifacts' denied" in refused.text
    upload = plain(f"{held.url}/", tokens[reader], "POST", data={":action": "file_upload"})
    assert (upload.status_code, "uploadArtifacts' denied" in upload.text) == (403, True)
    for token in ("", "not-a-token"):
        asked = plain(page, token)
        assert (asked.status_code, asked.headers["WWW-Authenticate"][:5]) == (401, "Basic")
    everybody = {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["allUsers"]}]}
    assert held.session.post(f"{API}/{held.name}:setIamPolicy", json={"policy": everybody}).status_code == 200
    assert plain(page).status_code == 200


def test_what_is_not_there(held: Held) -> None:
    assert held.session.get(f"{held.url}/simple/nothing/").status_code == 404
    assert held.session.get(f"{held.url}/nothing/nothing-1.0.tar.gz").status_code == 404
    assert held.session.get(f"{held.url[:-1]}x/simple/").status_code == 404
    images = create(held.session, "DOCKER")
    assert held.session.get(f"{held.url.rpartition('/')[0]}/{images}/simple/").status_code == 404
    assert held.session.put(f"{held.url}/").status_code == 405


def test_googles_client_lists_it(held: Held) -> None:
    assert held.upload("ml-model", "1.0").status_code == 200
    assert held.upload("ml-model", "1.0", wheels.sdist("ml-model", "1.0"), "ml_model-1.0.tar.gz").status_code == 200
    client = ar.ArtifactRegistryClient(transport="rest")
    (package,) = client.list_python_packages(parent=held.name)
    assert package.name == f"{held.name}/pythonPackages/ml-model:1.0"
    assert package.uri.endswith(f"/{held.id}/ml-model/ml_model-1.0-py3-none-any.whl")
    assert client.get_python_package(name=package.name) == package
    assert [one.name for one in client.list_packages(parent=held.name)] == [f"{held.name}/packages/ml-model"]
    (version,) = client.list_versions(parent=f"{held.name}/packages/ml-model")
    assert version.name.endswith("/versions/1.0")
    listed = {file.name.rpartition("/")[2]: file for file in client.list_files(parent=held.name)}
    assert set(listed) == {"ml-model%2Fml_model-1.0-py3-none-any.whl", "ml-model%2Fml_model-1.0.tar.gz"}
    assert {file.owner for file in listed.values()} == {version.name}
    assert held.get("dockerImages").status_code == 400
    repository = client.get_repository(name=held.name)
    assert repository.size_bytes == len(wheels.wheel("ml-model", "1.0")) + len(wheels.sdist("ml-model", "1.0"))
    assert repository.registry_uri == held.url.removeprefix("https://")
    client.delete_version(name=version.name).result()
    assert files(held, "ml-model") == []
    # The same name may come again once its version is gone; unverified: whether Google lets it
    assert held.upload("ml-model", "1.0").status_code == 200


def test_a_repository_of_another_format_and_a_setting_that_is_not_its_own(held: Held) -> None:
    parent = f"{API}/{held.name.rpartition('/')[0]}?repositoryId=r-{secrets.token_hex(4)}"
    for kind in ("APT", "YUM", "GO", "KFP", "RUBY"):
        answer = held.session.post(parent, json={"format": kind})
        assert (answer.status_code, f"the format {kind}" in answer.text) == (501, True)
    answer = held.session.post(parent, json={"format": "PYTHON", "dockerConfig": {"immutableTags": True}})
    said = 'Docker config is not supported for format "PYTHON"'
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, said)
