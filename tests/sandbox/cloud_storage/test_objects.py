"""Upload objects in gcloud's three ways, download them in ranges, and delete them and their buckets."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import requests
from hypothesis import assume, given
from hypothesis import strategies as st

from cli.world import starter
from sandbox import seed
from sandbox.api import media_uploads
from sandbox.cloud_storage import objects
from sandbox.iam import policies, tokens
from sandbox.state.clock import Clock
from sandbox.state.world import World as State
from tests.sandbox import in_process
from tests.sandbox.cloud_storage.conftest import URL
from tests.sandbox.in_process import Session


# The contents include bytes that look like a line end or a boundary.
@pytest.mark.parametrize("content", [b"", b"x", b"\n", b"\r\n\r\n", b"a\r\n--b\r\n", bytes(range(256)) * 40])
@pytest.mark.parametrize(("quote", "end"), [("'", "\n"), ('"', "\r\n"), ("", "\r\n")])
def test_multipart_upload_keeps_every_byte(session: Session, bucket: str, content: bytes, quote: str, end: str) -> None:
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
    answer = session.post(
        f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name=source/a.tgz",
        data=body,
        headers={"Content-Type": f"multipart/related; boundary={quote}{boundary}{quote}"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == str(len(content))
    assert answer.json()["name"] == "source/a.tgz"
    assert session.get(f"{URL}/storage/v1/b/{bucket}/o/source%2Fa.tgz?alt=media").content == content


def test_resumable_upload_continues_in_pieces(session: Session, bucket: str) -> None:
    content = secrets.token_bytes(700_000)
    begun = session.post(f"{URL}/resumable/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=big", json={})
    place = begun.headers["Location"]
    half = 262_144
    first = session.put(
        place,
        data=content[:half],
        headers={"Content-Range": f"bytes 0-{half - 1}/{len(content)}"},
        follow_redirects=False,
    )
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    status = session.put(place, headers={"Content-Range": f"bytes */{len(content)}"}, follow_redirects=False)
    assert (status.status_code, status.headers["Range"]) == (308, f"bytes=0-{half - 1}")
    gap = session.put(place, data=b"x", headers={"Content-Range": f"bytes 9-9/{len(content)}"}, follow_redirects=False)
    assert gap.status_code == 416
    last = session.put(
        place, data=content[half:], headers={"Content-Range": f"bytes {half}-{len(content) - 1}/{len(content)}"}
    )
    assert last.json()["size"] == str(len(content))
    assert session.get(f"{URL}/{bucket}/big").content == content


@pytest.mark.parametrize(
    ("interval", "status", "part"),
    [
        ("bytes=0-", 206, b"0123456789"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=2-3", 206, b"23"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, None),
        ("nonsense", 200, b"0123456789"),
    ],
)
def test_range_returns_its_bytes(session: Session, bucket: str, interval: str, status: int, part: bytes | None) -> None:
    session.post(f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=log.txt", data=b"0123456789")
    answer = session.get(f"{URL}/{bucket}/log.txt", headers={"Range": interval})
    assert answer.status_code == status
    if part is not None:
        assert answer.content == part


def test_missing_objects_and_taken_names_are_refused(session: Session, bucket: str) -> None:
    assert session.get(f"{URL}/storage/v1/b/{bucket}-no").status_code == 404
    assert session.get(f"{URL}/{bucket}/nothing").status_code == 404
    assert session.get(f"{URL}/storage/v1/b/{bucket}", headers={"Authorization": ""}).status_code == 401
    again = session.post(f"{URL}/storage/v1/b?project={in_process.PROJECT}", json={"name": bucket})
    assert again.status_code == 409
    assert "you already own it" in again.json()["error"]["message"]


def test_bucket_name_taken_by_another_project_is_not_available(session: Session, bucket: str) -> None:
    other = f"other-{secrets.token_hex(4)}"
    session.post("https://cloudresourcemanager.googleapis.com/v1/projects", json={"projectId": other})
    session.post(f"https://serviceusage.googleapis.com/v1/projects/{other}/services/storage.googleapis.com:enable")
    refused = session.post(f"{URL}/storage/v1/b?project={other}", json={"name": bucket})
    assert refused.status_code == 409, refused.text
    assert refused.json()["error"]["message"].startswith("The requested bucket name is not available.")


def test_only_an_empty_bucket_can_be_deleted(session: Session, bucket: str) -> None:
    session.post(f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a", data=b"x")
    listed = session.get(f"{URL}/storage/v1/b/{bucket}/o").json()
    assert [one["name"] for one in listed["items"]] == ["a"]
    assert session.delete(f"{URL}/storage/v1/b/{bucket}").status_code == 409
    assert session.delete(f"{URL}/storage/v1/b/{bucket}/o/a").status_code == 204
    assert session.delete(f"{URL}/storage/v1/b/{bucket}").status_code == 204
    assert session.get(f"{URL}/storage/v1/b/{bucket}").status_code == 404


@dataclass(frozen=True)
class Server:
    """A sandbox process with a bucket, and a session of the bucket's owner."""

    url: str
    home: Path
    pid: int
    session: requests.Session

    def reset_peak(self) -> None:
        """Reset the process's peak memory: clear_refs in proc(5)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Return the process's peak memory in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("uploads")
    state = State(home / "state", Clock())
    about = seed.prepare(state, home, "ml-uploads", "us-central1")
    with state.writing() as rows:
        policies.grant(rows, state, "projects/ml-uploads", "roles/owner", f"serviceAccount:{about['learner']}")
        objects.make_bucket(rows, state, "a-bucket", "ml-uploads")
    token = tokens.mint(state, f"serviceAccount:{about['learner']}")
    state.close()
    opened = starter.start(home, project="ml-uploads", port=0)
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {token}"
            yield Server(opened.url, home, opened.info.pid, session)
    finally:
        starter.stop(home)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", ["media", "multipart", "resumable"])
def test_upload_and_download_are_not_held_in_memory(server: Server, kind: str) -> None:
    content = secrets.token_bytes(1 << 20) * 16
    url, body, headers = f"{server.url}/storage.googleapis.com/upload/storage/v1/b/a-bucket/o?name={kind}", content, {}
    if kind == "multipart":
        body = b'--x\r\n\r\n{"name": "o"}\r\n--x\r\nContent-Type: a/b\r\n\r\n' + content + b"\r\n--x--"
        headers = {"Content-Type": "multipart/related; boundary=x"}
    assert server.session.post(f"{url}-first&uploadType=media", data=b"x", timeout=60).ok
    server.reset_peak()
    before = server.peak()
    if kind == "resumable":
        begun = server.session.post(f"{url}&uploadType=resumable", timeout=60)
        place = begun.headers["Location"].replace("https://", f"{server.url}/")
        answer = server.session.put(place, data=body, timeout=60)
    else:
        answer = server.session.post(f"{url}&uploadType={kind}", data=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    stored = f"{server.url}/storage.googleapis.com/storage/v1/b/a-bucket/o/{kind}"
    assert server.session.get(f"{stored}?alt=media", timeout=60).content == content
    assert server.peak() - before < len(content) // 2
    left = [one.name for one in (server.home / "state" / "objects").iterdir() if one.name.startswith("part-")]
    assert left == []


def test_upload_into_a_deleted_bucket_is_refused(session: Session, bucket: str) -> None:
    begun = session.post(f"{URL}/resumable/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name=late", json={})
    assert session.delete(f"{URL}/storage/v1/b/{bucket}").status_code == 204
    answer = session.put(begun.headers["Location"], data=b"late")
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["message"] == "The specified bucket does not exist."


@pytest.mark.parametrize(
    "body",
    [b"", b"--x", b"--x\n\n{}\n--x\n\nmedia", b"--x\n\n{}\n--x\n\na\n--x\n\nb\n--x--", b"--x\n\n[]\n--x\n\na\n--x--"],
    ids=["empty", "one boundary", "no end", "three parts", "no object"],
)
def test_invalid_multipart_upload_is_refused(session: Session, bucket: str, body: bytes) -> None:
    answer = session.post(
        f"{URL}/upload/storage/v1/b/{bucket}/o?uploadType=multipart&name=a",
        data=body,
        headers={"Content-Type": "multipart/related; boundary=x"},
    )
    assert answer.status_code == 400, answer.text


@given(st.binary(max_size=40), st.sampled_from([b"\n", b"\r\n"]), st.integers(1, 9))
def test_multipart_media_is_exact_for_any_read_size(media: bytes, end: bytes, piece: int) -> None:
    # The boundary begins like a part of the media can.
    boundary = b"--\n-x"
    assume(boundary not in media + end + boundary[:-1])

    body, file = io.BytesIO(end + boundary + b"--" + end), io.BytesIO()
    with mock.patch.object(media_uploads, "_PIECE", piece):
        media_uploads._copy_until(end + boundary, boundary, media, body, file)
    assert file.getvalue() == media
