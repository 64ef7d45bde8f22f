"""The app's page: its form works without JavaScript, under any path, and only from its own origin."""

import re
from html.parser import HTMLParser

import pytest
import requests

from tests.sample_app.conftest import Serve, Server


class Page(HTMLParser):
    """The tags of a page with their attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def every(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def token(self) -> str:
        return next(field["value"] for field in self.every("input") if field["name"] == "csrfmiddlewaretoken")


@pytest.fixture
def visitor(server: Server) -> requests.Session:
    """A client with its own cookies."""
    session = requests.Session()
    session.trust_env = False
    return session


def send(visitor: requests.Session, url: str, values: dict[str, str], **headers: str) -> requests.Response:
    token = Page(visitor.get(f"{url}/").text).token()
    return visitor.post(f"{url}/", data={**values, "csrfmiddlewaretoken": token}, headers=headers)


def as_text(flower: dict[str, float]) -> dict[str, str]:
    return {name: str(value) for name, value in flower.items()}


def test_filled_form_gets_a_prediction(visitor: requests.Session, server: Server, flower: dict[str, float]) -> None:
    answer = send(visitor, server.url, as_text(flower))
    assert answer.status_code == 200
    assert '<h2 id="answer">setosa</h2>' in answer.text
    assert "0.9822" in answer.text
    assert "v-test" in answer.text
    kept = {field["name"]: field["value"] for field in Page(answer.text).every("input")}
    assert kept.items() >= as_text(flower).items()


def test_shown_curl_command_gives_the_same_prediction(
    visitor: requests.Session, server: Server, flower: dict[str, float]
) -> None:
    text = send(visitor, server.url, as_text(flower)).text.replace("&quot;", '"').replace("&#x27;", "'")
    shown = re.search(r"curl -s (\S+) -H 'Content-Type: application/json' -d '(.+)'", text)
    assert shown is not None
    answer = server.client.post(shown[1], data=shown[2], headers={"Content-Type": "application/json"})
    assert answer.json()["prediction"] == "setosa"


def test_each_wrong_field_is_marked_and_explained(
    visitor: requests.Session, server: Server, flower: dict[str, float]
) -> None:
    wrong = as_text(flower) | {"sepal_width_cm": "<b>wide</b>", "petal_width_cm": ""}
    answer = send(visitor, server.url, wrong)
    assert answer.status_code == 400
    assert "<b>wide" not in answer.text
    page = Page(answer.text)
    fields = {field["name"]: field for field in page.every("input")}
    assert fields["sepal_width_cm"]["value"] == "<b>wide</b>"
    marked = {name for name, field in fields.items() if field.get("aria-invalid") == "true"}
    assert marked == {"sepal_width_cm", "petal_width_cm"}
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for name in marked:
        assert set(fields[name]["aria-describedby"].split()) <= ids
    assert "must be a number" in answer.text
    assert "missing" in answer.text


def test_every_field_has_a_label_and_nothing_is_loaded_from_elsewhere(server: Server) -> None:
    answer = server.client.get(f"{server.url}/")
    page = Page(answer.text)
    visible = [field for field in page.every("input") if field.get("type") != "hidden"]
    assert len(visible) == 4
    assert {field["id"] for field in visible} == {label["for"] for label in page.every("label")}
    assert page.every("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.every("meta"))
    assert "prefers-color-scheme: dark" in answer.text
    assert not page.every("script")
    addresses = [
        attributes[name] for _, attributes in page.tags for name in ("href", "src", "action") if name in attributes
    ]
    assert addresses == ["data:,", "?example=setosa", "?example=versicolor", "?example=virginica", "./"]
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    nonce = re.search(r"style-src 'nonce-([^']+)'", policy)
    assert nonce is not None
    assert [style["nonce"] for style in page.every("style")] == [nonce[1]]


def test_example_fills_the_form(server: Server) -> None:
    def filled(query: str) -> list[str]:
        page = Page(server.client.get(f"{server.url}/{query}").text)
        return [field["value"] for field in page.every("input") if field.get("type") == "number"]

    assert filled("?example=setosa") == ["5.1", "3.5", "1.4", "0.2"]
    assert filled("?example=virginica") == ["6.3", "3.3", "6", "2.5"]
    assert filled("?example=rose") == filled("")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/ml-predictor-1.us-central1.run.app", "/ml-predictor-1.us-central1.run.app/predict"),
        ("/a/b/", "/a/b/predict"),
        ("/a'; rm -rf ~; '", "/predict"),
        ("//elsewhere.example", "/predict"),
        ("a", "/predict"),
    ],
)
def test_shown_command_contains_the_prefix_that_a_proxy_removed(
    visitor: requests.Session, server: Server, flower: dict[str, float], sent: str, shown: str
) -> None:
    answer = send(visitor, server.url, as_text(flower), **{"X-Forwarded-Prefix": sent})
    assert f"curl -s {server.url}{shown} -H" in answer.text


def test_form_from_another_origin_is_refused(
    visitor: requests.Session, server: Server, flower: dict[str, float]
) -> None:
    foreign = send(visitor, server.url, as_text(flower), Origin="https://service.example")
    assert foreign.status_code == 403
    assert "CSRF_TRUSTED_ORIGINS" in foreign.text
    assert server.client.post(f"{server.url}/", data=flower).status_code == 403


def test_trusted_origins_are_read_from_the_environment(
    serve: Serve, visitor: requests.Session, flower: dict[str, float]
) -> None:
    with serve(CSRF_TRUSTED_ORIGINS="https://other.example, https://service.example") as running:
        assert send(visitor, running.url, as_text(flower), Origin="https://service.example").status_code == 200
        assert send(visitor, running.url, as_text(flower), Origin="https://third.example").status_code == 403


def test_form_that_is_too_large_is_refused(visitor: requests.Session, server: Server, flower: dict[str, float]) -> None:
    answer = send(visitor, server.url, as_text(flower) | {"more": "x" * 5000})
    assert answer.status_code == 413


def test_page_refuses_other_methods(server: Server) -> None:
    answer = server.client.delete(f"{server.url}/")
    assert answer.status_code in (403, 405)
    assert server.client.options(f"{server.url}/").status_code == 405
