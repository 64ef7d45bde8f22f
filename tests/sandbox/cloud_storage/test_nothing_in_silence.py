"""Apply each field, parameter and precondition of a request to Cloud Storage, or refuse it by name."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from sandbox.cloud_storage import listing
from sandbox.cloud_storage.objects import Stored
from tests.sandbox import google_messages, in_process
from tests.sandbox.cloud_storage.conftest import URL
from tests.sandbox.in_process import Session


def upload(session: Session, bucket: str, about: dict[str, Any], content: bytes, query: str = "") -> httpx.Response:
    body = (
        f"--b\r\nContent-Type: application/json\r\n\r\n{json.dumps(about)}\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
    )
    return session.post(
        f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=multipart{query}",
        data=body.encode() + content + b"\r\n--b--",
        headers={"Content-Type": "multipart/related; boundary=b"},
    )


def test_failed_precondition_changes_nothing(session: Session, bucket: str) -> None:
    first = upload(session, bucket, {"name": "a"}, b"one", "&ifGenerationMatch=0").json()
    url = f"{URL}/storage/v1/b/{bucket}/o/a"
    refused = upload(session, bucket, {"name": "a"}, b"two", "&ifGenerationMatch=0")
    assert refused.status_code == 412
    [error] = refused.json()["error"]["errors"]
    message = "At least one of the pre-conditions you specified did not hold."
    assert error == {"message": message, "domain": "global", "reason": "conditionNotMet"}
    assert session.get(f"{url}?alt=media").content == b"one"
    other = int(first["generation"]) + 1
    assert session.delete(f"{url}?ifGenerationMatch={other}").status_code == 412
    assert session.get(f"{url}?ifGenerationNotMatch={first['generation']}").status_code == 304
    assert session.get(f"{url}?ifMetagenerationMatch=2").status_code == 412
    begun = session.post(f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&ifGenerationMatch=0&name=a")
    assert begun.status_code == 412
    again = upload(session, bucket, {"name": "a"}, b"two", f"&ifGenerationMatch={first['generation']}")
    assert again.status_code == 200
    assert session.delete(f"{url}?ifGenerationMatch={again.json()['generation']}").status_code == 204


def test_metadata_of_the_upload_is_returned(session: Session, bucket: str) -> None:
    given_fields = {
        "metadata": {"commit": "abc"},
        "cacheControl": "no-store",
        "contentDisposition": "inline",
        "contentEncoding": "identity",
        "contentLanguage": "en",
        "contentType": "text/markdown",
        "crc32c": "4waSgw==",
    }
    made = upload(session, bucket, {"name": "a/b", **given_fields}, b"123456789")
    assert made.status_code == 200, made.text
    found = session.get(f"{URL}/storage/v1/b/{bucket}/o/a%2Fb").json()
    assert found == made.json()
    assert {field: found[field] for field in given_fields} == given_fields
    for url in (f"{URL}/storage/v1/b/{bucket}/o/a%2Fb?alt=media", f"{URL}/{bucket}/a/b"):
        headers = session.get(url).headers
        assert headers["x-goog-hash"] == f"crc32c=4waSgw==,md5={found['md5Hash']}"
        assert headers["cache-control"] == "no-store"
        assert headers["x-goog-meta-commit"] == "abc"
        assert headers["x-goog-stored-content-length"] == "9"
        assert headers["etag"] == found["etag"]


@pytest.mark.parametrize(("field", "name"), [("crc32c", "CRC32C"), ("md5Hash", "MD5 hash")])
def test_wrong_checksum_is_refused(session: Session, bucket: str, field: str, name: str) -> None:
    wrong = base64.b64encode(b"0000").decode()
    refused = upload(session, bucket, {"name": "a", field: wrong}, b"123456789")
    assert refused.status_code == 400
    assert f'Provided {name} "{wrong}" doesn\'t match' in refused.json()["error"]["message"]
    assert session.get(f"{URL}/storage/v1/b/{bucket}/o/a").status_code == 404


def test_list_folds_names_at_a_delimiter_in_pages(session: Session, bucket: str) -> None:
    assert "items" not in session.get(f"{URL}/storage/v1/b/{bucket}/o").json()
    for name in ("a/1", "a/2", "b", "c/", "c/1"):
        assert upload(session, bucket, {"name": name}, b"x").status_code == 200
    seen, token = [], ""
    while True:
        query = {"delimiter": "/", "maxResults": 2, "pageToken": token}
        page = session.get(f"{URL}/storage/v1/b/{bucket}/o", params=query).json()
        seen.append(([one["name"] for one in page.get("items", ())], page.get("prefixes", [])))
        token = page.get("nextPageToken", "")
        if not token:
            break
    assert seen == [(["b"], ["a/"]), ([], ["c/"])]
    trailing = {"delimiter": "/", "includeTrailingDelimiter": "true", "startOffset": "b"}
    page = session.get(f"{URL}/storage/v1/b/{bucket}/o", params=trailing).json()
    assert ([one["name"] for one in page["items"]], page["prefixes"]) == (["b", "c/"], ["c/"])


NAMES = st.lists(st.text("ab/", min_size=1, max_size=5), unique=True, max_size=8)


@given(NAMES, st.sampled_from(["", "a", "a/"]), st.sampled_from(["", "/"]), st.integers(1, 4))
def test_pages_contain_each_name_once(names: list[str], prefix: str, delimiter: str, size: int) -> None:
    found = [Stored("b", name, 1, "f", "", "", "2026-01-01T00:00:00Z") for name in sorted(names)]
    items, prefixes, token, pages = [], [], "", 0
    while True:
        query = QueryParams({"prefix": prefix, "delimiter": delimiter, "maxResults": str(size), "pageToken": token})
        page = listing.page(found, query)
        assert len(page.items) + len(page.prefixes) <= size
        items += [stored.name for stored in page.items]
        prefixes += page.prefixes
        token, pages = page.token, pages + 1
        if not token:
            break
    wanted = [name for name in sorted(names) if name.startswith(prefix)]
    if delimiter:
        folded = {prefix + name[len(prefix) :].partition("/")[0] + "/" for name in wanted if "/" in name[len(prefix) :]}
        assert prefixes == sorted(folded)
        wanted = [name for name in wanted if "/" not in name[len(prefix) :]]
    assert items == wanted
    assert pages <= max(1, len(names))


@pytest.mark.parametrize(
    ("verb", "path", "body", "words"),
    [
        ("GET", "/storage/v1/b/{bucket}/o?matchGlob=*", None, "the parameter matchGlob of storage.objects.list"),
        ("GET", "/storage/v1/b/{bucket}/o?versions=true", None, "the parameter versions"),
        ("GET", "/storage/v1/b/{bucket}/iam", None, "GET /storage/v1/b/{bucket}/iam"),
        ("GET", "/storage/v1/b/{bucket}/acl", None, "GET /storage/v1/b/{bucket}/acl"),
        ("GET", "/storage/v1/b/{bucket}/o/a/acl", None, "GET /storage/v1/b/{bucket}/o/a/acl"),
        (
            "POST",
            "/storage/v1/b?project={project}",
            {"name": "b-x", "lifecycle": {"rule": [{}]}},
            "lifecycle of a bucket",
        ),
        ("POST", "/storage/v1/b?project={project}", {"name": "b-x", "versioning": {"enabled": True}}, "versioning"),
        ("POST", "/storage/v1/b?project={project}&predefinedAcl=private", {"name": "b-x"}, "predefinedAcl"),
    ],
    ids=["glob", "versions", "iam", "acl", "object acl", "lifecycle", "versioning", "predefined"],
)
def test_unsupported_field_or_parameter_is_refused(
    session: Session, bucket: str, verb: str, path: str, body: Any, words: str
) -> None:
    values = {"bucket": bucket, "project": in_process.PROJECT}
    answer = session.request(verb, URL + path.format(**values), json=body)
    assert answer.status_code == 501
    assert words.format(**values) in answer.json()["error"]["message"]


OBJECT = google_messages.fields("storage.v1", "Object")
# Google sets these fields. gcloud and Node's client send them back, so they are ignored.
WRITTEN = {"kind", "id", "selfLink", "mediaLink", "generation", "metageneration", "size", "timeCreated", "updated"} | {
    "etag", "timeFinalized", "timeStorageClassUpdated",
}  # fmt: skip


@pytest.mark.parametrize("field", sorted({*OBJECT, "colour"} - WRITTEN - {"name"}))
def test_object_field_is_stored_or_refused_by_name(session: Session, bucket: str, field: str) -> None:
    value = google_messages.example("storage.v1", OBJECT.get(field, "string"))
    answer = upload(session, bucket, {"name": "a", field: value}, b"x")
    if answer.status_code == 200:
        assert field in answer.json()
        return
    message = answer.json()["error"]["message"].lower().replace(" ", "")
    other = {"storageClass": "oftheclass", "md5Hash": "md5hash"}.get(field, "-")
    assert field.lower() in message or other in message, message
    assert session.get(f"{URL}/storage/v1/b/{bucket}/o/a").status_code == 404
