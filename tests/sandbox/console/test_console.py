"""The console's pages, its sign-in, and what keeps everybody else out; in this process, by the application itself."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from starlette.requests import Request

from sandbox import seed
from sandbox.admin.sessions import CODE_SECONDS, SESSION_SECONDS, Sessions
from sandbox.artifact_registry import catalog
from sandbox.iam import policies
from sandbox.state import projects
from sandbox.state.clock import Clock, timestamp
from sandbox.state.world import World
from tests.sandbox import in_process

START = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
NAME = "projects/ml-one/locations/us-central1/repositories/ml-images"
PAGE = "/console/projects/ml-one/repositories/us-central1/ml-images"
HOSTILE = '"><script>alert(1)</script> \u202egnp.exe'
LEARNER = "serviceAccount:learner@ml-one.iam.gserviceaccount.com"
ADMIN = {"Authorization": "Bearer admin"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path / "state", Clock(START))
    seed.prepare(opened, tmp_path, "ml-one", "us-central1")
    with opened.writing() as rows:
        for api in ("artifactregistry", "containeranalysis", "cloudbuild", "run", "logging"):
            rows.execute("INSERT OR IGNORE INTO services VALUES ('ml-one', ?, '')", (f"{api}.googleapis.com",))
        now = timestamp(opened.now())
        message = json.dumps({"format": "DOCKER", "description": HOSTILE, "cleanupPolicies": {}})
        rows.execute(
            "INSERT INTO repositories VALUES (?, 'ml-one', 'us-central1', 'ml-images', ?, ?, ?)",
            (NAME, message, now, now),
        )
    yield opened
    opened.close()


def push(world: World, number: int, *tags: str, package: str = "web") -> str:
    """Put a version there that has no layers."""
    digest = f"sha256:{number:064x}"
    with world.writing() as rows:
        found = catalog.find_repository(rows, NAME)
        assert found
        catalog.put_version(
            rows, world, catalog.Version(NAME, package, digest, "x", "", "", 10, 10, {}, "", "", ""), children=[]
        )
        for tag in tags:
            catalog.set_tag(rows, world, found, package, tag, digest)
    return digest


@pytest.fixture
def outside(world: World) -> Iterator[Client]:
    """A browser that is not signed in."""
    with in_process.client(world, "admin") as opened:
        yield opened


def code(browser: Client, member: str = LEARNER) -> str:
    answer = browser.post("/_sandbox/console:signIn", headers=ADMIN, json={"member": member})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["code"]
    return found


@pytest.fixture
def browser(outside: Client) -> Client:
    """A browser in which the learner is signed in."""
    answer = outside.get(f"/console/sign-in?code={code(outside)}")
    assert (answer.status_code, str(answer.url)) == (200, "http://127.0.0.1:5001/console")
    return outside


def form_token(browser: Client) -> str:
    [token] = set(re.findall(r'name="form_token" value="([^"]+)"', browser.get("/console/clock").text))
    return str(token)


def test_a_code_signs_in_once(outside: Client) -> None:
    link = f"/console/sign-in?code={code(outside)}"
    first = outside.get(link, follow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "/console")
    cookie = first.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/console"))
    assert outside.get("/console").status_code == 200
    outside.cookies.clear()
    assert outside.get(link).status_code == 401
    assert outside.get("/console").status_code == 401


def test_behind_a_hub_every_address_and_the_cookie_begin_with_the_hub_s_path(outside: Client) -> None:
    outside.headers["X-Forwarded-Prefix"] = "/user/ada/workbook"
    base = "/user/ada/workbook/console"
    link = f"/console/sign-in?code={code(outside)}&to=/projects/ml-one"
    signed = outside.get(link, follow_redirects=False)
    assert signed.headers["location"] == f"{base}/projects/ml-one"
    assert f"path={base};" in signed.headers["set-cookie"].lower()
    cookie = {"Cookie": signed.headers["set-cookie"].partition(";")[0]}
    for page in ("/console", "/console/clock", "/console/requests", "/console/projects/ml-one", PAGE, "/console/no"):
        found = re.findall(r'(?:href|src|action)="(/[^"]*)"', outside.get(page, headers=cookie).text)
        assert found, page
        assert [one for one in found if not f"{one}/".startswith(f"{base}/")] == [], page


def test_a_prefix_is_a_path(outside: Client) -> None:
    for wrong in ("//evil.example", "https://evil.example", "/a/../b", '/"><b>', "/a/"):
        answer = outside.get("/console", headers={"X-Forwarded-Prefix": wrong})
        assert (answer.status_code, "evil" in answer.text) == (400, False), wrong


def test_a_code_leads_to_pages_of_the_console_only(outside: Client) -> None:
    for to in ("//evil.example", "https://evil.example", "/sign-out", "/../_sandbox/status", "\\evil"):
        asked = {"code": code(outside), "to": to}
        answer = outside.get("/console/sign-in", params=asked, follow_redirects=False)
        assert answer.headers["location"] == "/console", to


@pytest.mark.parametrize("wrong", ["", "?code=", "?code=guess", "?code=%ff%00"])
def test_a_wrong_code_opens_nothing(wrong: str, outside: Client) -> None:
    answer = outside.get(f"/console/sign-in{wrong}")
    assert answer.status_code == 401
    assert ".venv/bin/workbook console" in answer.text
    assert "set-cookie" not in answer.headers


def test_codes_and_sessions_end_by_themselves() -> None:
    moment = [0.0]
    sessions = Sessions(lambda: moment[0])
    old = sessions.code(LEARNER)
    moment[0] += CODE_SECONDS
    assert sessions.sign_in(old) is None
    value = sessions.sign_in(sessions.code(LEARNER))
    assert value

    def signed_in() -> bool:
        cookie = f"workbook_console={value}".encode()
        return sessions.of(Request({"type": "http", "headers": [(b"cookie", cookie)]})) is not None

    assert signed_in()
    moment[0] += SESSION_SECONDS
    assert not signed_in()


def test_a_code_needs_the_admin_token_and_an_account_that_is_there(outside: Client) -> None:
    body = {"member": LEARNER}
    assert outside.post("/_sandbox/console:signIn", json=body).status_code == 401
    for wrong in ({}, [], {"member": 1}, {"member": "allUsers"}, {"member": LEARNER.replace("learner", "nobody")}):
        assert outside.post("/_sandbox/console:signIn", headers=ADMIN, json=wrong).status_code == 400, wrong


def test_pages_show_what_is_there(browser: Client, world: World) -> None:
    digest = push(world, 1, "1.0.0", "latest", package="team/app")
    assert "ml-one" in browser.get("/console").text
    assert f'href="{PAGE}"' in browser.get("/console/projects/ml-one").text
    listed = browser.get(PAGE).text
    assert "<bdi>team/app</bdi>" in listed
    assert re.search(r"<code>1\.0\.0</code>\s*<code>latest</code>", listed)
    [link] = re.findall(rf'href="({PAGE}/[^"]+@sha256[^"]+|{PAGE}/[^"]+%40sha256[^"]+)"', listed)
    shown = browser.get(html.unescape(link)).text
    assert f"team/app@{digest}" in shown


def test_names_that_look_like_markup_stay_text(browser: Client) -> None:
    for page in ("/console/projects/ml-one", PAGE):
        assert "<script>alert" not in browser.get(page).text
    # Isolated, so that what stands after it keeps its direction.
    assert f"<bdi>{html.escape(HOSTILE, quote=True).replace('&quot;', '&#34;')}</bdi>" in browser.get(PAGE).text


def test_images_come_by_pages(browser: Client, world: World) -> None:
    digests = {push(world, number) for number in range(120)}
    seen: set[str] = set()
    address, pages = PAGE, 0
    while address:
        text = browser.get(address).text
        seen |= set(re.findall(r"sha256%3A[0-9a-f]{64}", text))
        pages += 1
        further = re.search(r'rel="next" href="([^"]+)"', text)
        address = PAGE + html.unescape(further[1]) if further else ""
    assert pages == 3
    assert {one.replace("%3A", ":") for one in seen} == digests


def test_who_may_see_nothing_gets_the_refusal(outside: Client, world: World) -> None:
    with world.writing() as rows:
        email = projects.add_service_account(rows, world, "ml-one", "stranger", "")
    outside.get(f"/console/sign-in?code={code(outside, f'serviceAccount:{email}')}")
    assert "You may see no project" in outside.get("/console").text
    for page in ("/console/projects/ml-one", PAGE, f"{PAGE}/web@sha256:1"):
        answer = outside.get(page)
        assert answer.status_code == 403
        assert "ermission" in answer.text
    with world.writing() as rows:
        policies.grant(rows, world, NAME, "roles/artifactregistry.reader", f"serviceAccount:{email}")
    assert outside.get(PAGE).status_code == 200
    assert "getIamPolicy" in outside.get(PAGE).text


def test_a_disabled_account_is_signed_out(browser: Client, world: World) -> None:
    with world.writing() as rows:
        rows.execute("UPDATE service_accounts SET disabled = 1")
    assert browser.get("/console").status_code == 401


def test_the_clock_moves_by_its_own_form_only(browser: Client, world: World) -> None:
    before = world.now()
    token = form_token(browser)
    refused: list[dict[str, Any]] = [
        {"data": {"days": "3"}},
        {"data": {"days": "3", "form_token": token[::-1]}},
        {"json": {"days": "3", "form_token": token}},
        {"data": {"days": "3", "form_token": token, "more": "x" * 5000}},
    ]
    assert [browser.post("/console/clock", **one).status_code for one in refused] == [403] * 4
    for days in ("0", "-1", "nan", "inf", "1e300", "x", ""):
        assert browser.post("/console/clock", data={"days": days, "form_token": token}).status_code == 400
    assert world.now() - before < dt.timedelta(minutes=5)
    assert browser.post("/console/clock", data={"days": "3", "form_token": token}).status_code == 200
    assert world.now() - before >= dt.timedelta(days=3)


def test_the_console_has_an_origin_of_its_own(browser: Client) -> None:
    """Services answer at localhost: their pages must not be of the console's origin."""
    there = browser.get("http://localhost:5001/console/clock", follow_redirects=False)
    assert (there.status_code, there.headers["location"]) == (307, "http://127.0.0.1:5001/console/clock")
    service = "/one-1.us-central1.run.app/"
    navigated = browser.get(service, headers={"Sec-Fetch-Mode": "navigate"}, follow_redirects=False)
    assert (navigated.status_code, navigated.headers["location"]) == (307, f"http://localhost:5001{service}")
    # What is no browser, or loads no document, gets the service's answer there too.
    assert browser.get(service, follow_redirects=False).status_code == 404


@pytest.mark.parametrize("path", ["/console", "/console/nope", "/console/requests", PAGE, "/console/console.css"])
def test_no_page_runs_or_frames_anything_foreign(path: str, browser: Client) -> None:
    answer = browser.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/console/..%2f..%2fserve.py", "/console/base.html", "/console/%2e%2e/serve.py"])
def test_no_other_file_is_served(path: str, browser: Client) -> None:
    assert browser.get(path).status_code == 404


def test_signing_out_ends_the_session(browser: Client) -> None:
    kept = dict(browser.cookies)
    browser.post("/console/sign-out", data={"form_token": form_token(browser)})
    browser.cookies.update(kept)
    assert browser.get("/console").status_code == 401


def test_the_request_log_shows_clients_and_not_the_console(browser: Client) -> None:
    browser.get("/artifactregistry.googleapis.com/v1/projects/ml-one/locations?secret=1")
    shown = browser.get("/console/requests").text
    assert "/v1/projects/ml-one/locations" in shown
    assert "/console/requests</code>" not in shown
