"""No page of the sandbox carries a caller's text as HTML, and none runs a script."""

from __future__ import annotations

import http.client
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.world.starter import World
from sandbox.doors.pages import page

HOSTILE = "<img src=x onerror=\"document.title='XSS'\">"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def get(world: World, path: str) -> tuple[int, http.client.HTTPMessage, str]:
    connection = http.client.HTTPConnection("localhost", world.info.port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/no-service-123.us-central1.run.app/{quote(HOSTILE)}",
        f"/no-service-123.us-central1.run.app/{quote(HOSTILE)}z",
        f"/{quote(HOSTILE)}",
        f"/storage.googleapis.com/{quote(HOSTILE)}",
        f"/v2/{quote(HOSTILE)}/manifests/x",
    ],
    ids=["front", "service", "reserved", "port", "api", "registry"],
)
def test_what_a_caller_sends_is_never_markup(world: World, path: str) -> None:
    _, headers, text = get(world, path)
    if headers.get_content_type() == "text/html":
        assert "img" not in Tags(text).found
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    else:
        assert headers.get_content_type() in ("application/json", "text/plain")


@given(st.text())
def test_the_template_escapes_any_text(text: str) -> None:
    answer = page("<p>{{ path }}</p>", path=text)
    assert Tags(bytes(answer.body).decode("utf-8", "surrogatepass")).found == ["p"]
