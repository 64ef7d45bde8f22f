"""The door of a learner's Jupyter server to their sandbox, over real sockets: a Jupyter server and a sandbox."""

from __future__ import annotations

import html
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from cli.world.starter import World
from helpers import target
from helpers.target import ROOT
from room import board, door
from tests.conditions import until

BASE = "/user/ada/"
OTHERS = ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals")
HOST = "nobody-1.us-central1.run.app"


@pytest.fixture(scope="module")
def address(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Jupyter server as the room starts it, but for the Hub: a token says who is ada."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": str(port),
        "ServerApp.port_retries": "0",
        "ServerApp.base_url": BASE,
        "ServerApp.root_dir": str(folder),
        "IdentityProvider.token": "of-ada",
    }
    environment = target.apply(world.environment({}, run=world.lab_run), os.environ)
    own = {"PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder)}
    line = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
    line += [f"--{name}={value}" for name, value in options.items()]
    line += [
        f"--ServerApp.jpserver_extensions={one}" for one in ("room.door=True", *(f"{one}=False" for one in OTHERS))
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(line, env=environment | own, stdout=log, stderr=log, cwd=folder)
    try:
        until(lambda: answers(port) or server.poll() is not None, 60)
        assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def stranger() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def ada(stranger: requests.Session, address: str) -> requests.Session:
    """A browser in which ada is signed in at her server."""
    assert stranger.get(f"{address}{BASE}tree?token=of-ada", timeout=30).status_code in (200, 404)
    return stranger


def signed_in(ada: requests.Session, page: str) -> requests.Response:
    """Open a page of the console as a browser does, which follows the link that signs in."""
    answer = ada.get(page, timeout=30)
    link = re.search(r'content="0; url=([^"]+)"', answer.text)
    assert link, answer.text
    return ada.get(page.partition("/user")[0] + html.unescape(link[1]), timeout=30)


def test_nobody_comes_in_whom_the_server_does_not_know(address: str, stranger: requests.Session) -> None:
    for path in ("console", "console/clock", f"{HOST}/", "console/console.css"):
        answer = stranger.get(f"{address}{BASE}workbook/{path}", timeout=30, allow_redirects=False)
        assert answer.status_code == 302, path
        assert answer.headers["Location"].startswith(f"{BASE}login"), path
    assert stranger.post(f"{address}{BASE}workbook/console/clock", timeout=30).status_code == 403
    assert stranger.get(f"{address}{BASE}workbook/guess/{HOST}/", timeout=30).status_code == 404


def test_the_console_opens_at_the_page_that_was_asked_for(address: str, ada: requests.Session, world: World) -> None:
    page = f"{address}{BASE}workbook/console/projects/{world.info.project_id}"
    shown = signed_in(ada, page)
    assert (shown.status_code, shown.url) == (200, page)
    assert f'href="{BASE}workbook/console/clock"' in shown.text
    assert "frame-ancestors 'none'" in shown.headers["Content-Security-Policy"]
    [cookie] = [one for one in ada.cookies if one.name == "workbook_console"]
    assert cookie.path == f"{BASE}workbook/console"
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert (
        ada.get(f"{address}{BASE}workbook/console/console.css", timeout=30)
        .headers["Content-Type"]
        .startswith("text/css")
    )


def test_a_form_of_the_console_needs_its_token_behind_the_hub_too(address: str, ada: requests.Session) -> None:
    page = f"{address}{BASE}workbook/console/clock"
    shown = signed_in(ada, page).text
    refused = ada.post(page, data={"days": "1"}, timeout=30)
    assert refused.status_code == 403
    assert "This form was not written by the console" in refused.text
    token = re.search(r'name="form_token" value="([^"]+)"', shown)
    assert token
    answer = ada.post(page, data={"days": "1", "form_token": token[1]}, timeout=60, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{BASE}workbook/console/clock")


def test_a_service_has_an_origin_of_its_own_and_gets_no_cookie(
    address: str, ada: requests.Session, world: World
) -> None:
    led = ada.get(f"{address}{BASE}workbook/{HOST}/a%2Fb?c=d", timeout=30, allow_redirects=False)
    place = led.headers["Location"]
    assert re.fullmatch(rf"{BASE}workbook/[\w-]{{24}}/{re.escape(HOST)}/a%2Fb\?c=d", place)
    # Whoever has the key needs no cookie: the page has an origin of its own, which sends none.
    answer = requests.get(f"{address}{place}", timeout=30, headers={"Origin": "null"})
    assert answer.status_code == 404
    assert "was not found on this server" in answer.text
    assert "sandbox allow-downloads" in answer.headers["Content-Security-Policy"]
    assert "allow-same-origin" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["Access-Control-Allow-Origin"] == "null"
    assert "Set-Cookie" not in answer.headers
    seen = [one for one in world.admin("requests")["requests"] if one["host"] == HOST]
    assert [(one["path"], one["query"]) for one in seen] == [("/a/b", "c=d")]
    assert "of-ada" not in json.dumps(seen)
    # A page of another origin may not even ask.
    assert "Access-Control-Allow-Origin" not in requests.get(f"{address}{place}", timeout=30).headers


def test_no_other_place_of_the_sandbox_is_behind_the_door(address: str, ada: requests.Session) -> None:
    for path in ("_sandbox/status", "artifactregistry.googleapis.com/v1/", "v2/", "console%2f..%2f_sandbox/status"):
        answer = ada.get(f"{address}{BASE}workbook/{path}", timeout=30)
        assert answer.status_code == 404, path


def test_a_service_s_cookies_are_kept_for_it() -> None:
    jar = door.Jar()
    jar.take(["csrftoken=abc; Path=/x; SameSite=Strict", "other=1", "long=" + "x" * 5000, "\x00"])
    assert jar.header() == {"Cookie": "csrftoken=abc; other=1"}
    jar.take(["other=; Max-Age=0"])
    assert jar.header() == {"Cookie": "csrftoken=abc"}
    jar.take([f"n{number}=1" for number in range(60)])
    assert len(jar.held) == 50
    assert door.Jar().header() == {}


def test_only_the_console_s_own_cookie_passes() -> None:
    path = "/user/ada/workbook/console"
    assert door._of_console(f"workbook_console=x; Path={path}; HttpOnly", path)
    assert not door._of_console("workbook_console=x; Path=/", path)
    assert not door._of_console(f"_xsrf=x; Path={path}", path)


def test_the_board_is_read_and_answered_by_its_learner_alone(address: str, ada: requests.Session, world: World) -> None:
    place = f"{address}{BASE}workbook/board"
    with requests.Session() as nobody:
        assert nobody.get(place, timeout=30).status_code == 403
    board.post(world.home, "<b>Coffee</b>", "05_tag_images")
    board.ask(world.home)
    said = ada.get(place, timeout=30).json()
    assert (said["text"], said["notebook"], said["asks"], said["looks"]) == (
        "<b>Coffee</b>",
        "05_tag_images",
        True,
        False,
    )
    assert ada.post(place, json={"yes": True}, timeout=30).status_code == 403, "without Jupyter's token"
    xsrf = {"X-XSRFToken": next(str(one.value) for one in ada.cookies if one.name == "_xsrf")}
    assert ada.post(place, json={"yes": "true"}, headers=xsrf, timeout=30).status_code == 400
    assert ada.post(place, json={"yes": True}, headers=xsrf, timeout=30).status_code == 204
    assert ada.get(place, timeout=30).json()["looks"]
    assert ada.get(f"{place}.js", timeout=30).headers["Content-Type"].startswith("text/javascript")
