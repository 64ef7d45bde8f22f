"""Cloud Storage as far as builds need it: uploads exactly as gcloud sends them, and ranges."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator

import google.auth
import pytest
import requests
from google.auth.transport.requests import AuthorizedSession

URL = "https://storage.googleapis.com"


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """The learner's session."""
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    with AuthorizedSession(credentials) as session:
        yield session


@pytest.fixture
def bucket(learner: AuthorizedSession) -> str:
    """A new bucket."""
    name = f"bucket-{secrets.token_hex(6)}"
    answer = learner.post(f"{URL}/storage/v1/b?project={os.environ['PROJECT_ID']}", json={"name": name})
    assert answer.status_code == 200, answer.text
    return name


# Bytes that a careless reader would take for a line end or a boundary.
@pytest.mark.parametrize("content", [b"", b"x", b"\n", b"\r\n\r\n", b"a\r\n--b\r\n", bytes(range(256)) * 40])
@pytest.mark.parametrize(("quote", "end"), [("'", "\n"), ('"', "\r\n"), ("", "\r\n")])
def test_a_multipart_upload_keeps_every_byte(
    learner: AuthorizedSession, bucket: str, content: bytes, quote: str, end: str
) -> None:
    boundary = "===============8234=="
    if not quote:
        boundary = "plain8234"
    lines = [
        f"--{boundary}",
        "Content-Type: application/json",
        "",
        json.dumps({"name": "ignored"}),
        f"--{boundary}",
        "Content-Type: application/x-tar",
        "",
        "",
    ]
    body = end.join(lines).encode() + content + f"{end}--{boundary}--".encode()
    answer = learner.post(
        f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name=source/a.tgz",
        data=body,
        headers={"Content-Type": f"multipart/related; boundary={quote}{boundary}{quote}"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == str(len(content))
    assert answer.json()["name"] == "source/a.tgz"
    assert learner.get(f"{URL}/storage/v1/b/{bucket}/o/source%2Fa.tgz?alt=media").content == content


def test_a_resumable_upload_in_pieces(learner: AuthorizedSession, bucket: str) -> None:
    content = secrets.token_bytes(700_000)
    begun = learner.post(f"{URL}/resumable/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=big", json={})
    place = begun.headers["Location"]
    half = 262_144
    first = learner.put(
        place,
        data=content[:half],
        headers={"Content-Range": f"bytes 0-{half - 1}/{len(content)}"},
        allow_redirects=False,
    )
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    asked = learner.put(place, headers={"Content-Range": f"bytes */{len(content)}"}, allow_redirects=False)
    assert (asked.status_code, asked.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    gap = learner.put(place, data=b"x", headers={"Content-Range": f"bytes 9-9/{len(content)}"}, allow_redirects=False)
    assert gap.status_code == 416
    last = learner.put(
        place, data=content[half:], headers={"Content-Range": f"bytes {half}-{len(content) - 1}/{len(content)}"}
    )
    assert last.json()["size"] == str(len(content))
    assert learner.get(f"{URL}/{bucket}/big").content == content


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-", 206, b"0123456789"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=2-3", 206, b"23"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, None),
        ("nonsense", 200, b"0123456789"),
    ],
)
def test_ranges(learner: AuthorizedSession, bucket: str, asked: str, status: int, part: bytes | None) -> None:
    learner.post(f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=log.txt", data=b"0123456789")
    answer = learner.get(f"{URL}/{bucket}/log.txt", headers={"Range": asked})
    assert answer.status_code == status
    if part is not None:
        assert answer.content == part


def test_what_is_not_there_and_what_is_not_yours(learner: AuthorizedSession, bucket: str) -> None:
    assert learner.get(f"{URL}/storage/v1/b/{bucket}-no").status_code == 404
    assert learner.get(f"{URL}/{bucket}/nothing").status_code == 404
    assert requests.get(f"{URL}/storage/v1/b/{bucket}", timeout=10).status_code == 401
    again = learner.post(f"{URL}/storage/v1/b?project={os.environ['PROJECT_ID']}", json={"name": bucket})
    assert again.status_code == 409
    assert "you already own it" in again.json()["error"]["message"]


def test_a_bucket_of_another_project_is_not_called_your_own(learner: AuthorizedSession, bucket: str) -> None:
    other = f"other-{secrets.token_hex(4)}"
    learner.post("https://cloudresourcemanager.googleapis.com/v1/projects", json={"projectId": other})
    learner.post(f"https://serviceusage.googleapis.com/v1/projects/{other}/services/storage.googleapis.com:enable")
    refused = learner.post(f"{URL}/storage/v1/b?project={other}", json={"name": bucket})
    assert refused.status_code == 409, refused.text
    assert refused.json()["error"]["message"].startswith("The requested bucket name is not available.")


def test_a_bucket_is_deleted_when_it_is_empty(learner: AuthorizedSession, bucket: str) -> None:
    learner.post(f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a", data=b"x")
    listed = learner.get(f"{URL}/storage/v1/b/{bucket}/o").json()
    assert [one["name"] for one in listed["items"]] == ["a"]
    assert learner.delete(f"{URL}/storage/v1/b/{bucket}").status_code == 409
    assert learner.delete(f"{URL}/storage/v1/b/{bucket}/o/a").status_code == 204
    assert learner.delete(f"{URL}/storage/v1/b/{bucket}").status_code == 204
    assert learner.get(f"{URL}/storage/v1/b/{bucket}").status_code == 404
