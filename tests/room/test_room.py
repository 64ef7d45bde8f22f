"""A room with a real JupyterHub: three learners and a lead at once, each through their own server.

Needs npm (JupyterHub's proxy), a Docker Engine and `make hub`'s environment, which it makes. `make soak` runs it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websocket

from cli.world import starter
from helpers.cell import documents
from helpers.target import ROOT
from machine import processes
from tests.browser import chrome
from tests.browser.test_site import axe, findings, keep_picture
from tests.conditions import until
from tests.room.browsing import Browser

__all__ = ["axe"]

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="opens a JupyterHub: make soak"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on the PATH, which has JupyterHub's proxy"),
]

NAMES = ("ada", "grace", "linus")
NOTEBOOK = "02_create_a_repository"


@dataclass(frozen=True)
class Room:
    """A room that runs."""

    address: str
    folder: Path
    password: str

    def learner(self, name: str) -> Browser:
        """A learner whose server is ready."""
        browser = Browser(self.address)
        assert browser.sign_in(name, f"password-of-{name}").status_code == 200
        until(lambda: "jupyter-config-data" in browser.get(f"/user/{name}/lab").text, 180)
        return browser

    def lead(self) -> Browser:
        """The lead, signed in."""
        browser = Browser(self.address)
        answer = browser.sign_in("lead", self.password)
        assert answer.url == f"{self.address}/services/room/", answer.text
        return browser


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("room")
    names = folder / "names.txt"
    names.write_text("\n".join(NAMES), encoding="utf-8")
    settings = {"WORKBOOK_VENV": str(ROOT / ".venv-hub"), "WORKBOOK_LOCK": "room/requirements.txt"}
    subprocess.run([ROOT / "machine" / "install.sh"], cwd=ROOT, env=os.environ | settings, check=True, timeout=600)
    port = free_ports(4)
    environment = os.environ | {
        "WORKBOOK_CLASS": os.path.relpath(names, ROOT),  # as the guide has it: from where the lead stands
        "WORKBOOK_ROOM": str(folder / "room"),
        "WORKBOOK_ROOM_PORT": str(port),
    }
    log = folder / "hub.log"
    with log.open("wb") as out:
        hub = subprocess.Popen(
            [ROOT / ".venv-hub" / "bin" / "python", "-m", "room"], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    try:
        until(lambda: "JupyterHub is now running" in log.read_text(encoding="utf-8") or hub.poll() is not None, 180)
        said = log.read_text(encoding="utf-8")
        assert hub.poll() is None, said
        password = re.search(r"You lead as lead, password (\S+)\.\n", said)
        assert password
        yield Room(f"http://127.0.0.1:{port}", folder / "room", password[1])
    finally:
        hub.send_signal(signal.SIGTERM)
        hub.wait(60)
        for name in NAMES:
            starter.stop(folder / "room" / "learners" / name)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        first = int(probe.getsockname()[1])
    return first if all(starter.is_free(first + more) for more in range(count)) else free_ports(count)


@dataclass
class Kernel:
    """A kernel of a learner's own server, spoken to as JupyterLab does."""

    socket: websocket.WebSocket

    def run(self, code: str) -> tuple[str, str]:
        """Run code; what it printed, and its error."""
        number = uuid.uuid4().hex
        header = {"msg_id": number, "msg_type": "execute_request", "username": "", "session": number, "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        self.socket.send(json.dumps(message))
        text, error = "", ""
        while True:
            answer: dict[str, Any] = json.loads(self.socket.recv())
            if answer["parent_header"].get("msg_id") != number:
                continue
            said, kind = answer["content"], answer["msg_type"]
            text += said.get("text", "") if kind == "stream" else said.get("data", {}).get("text/plain", "")
            error += f"{said['ename']}: {said['evalue']}" if kind == "error" else ""
            if kind == "status" and said["execution_state"] == "idle":
                return text, error


@contextlib.contextmanager
def kernel(browser: Browser, name: str) -> Iterator[Kernel]:
    """Open a notebook's kernel on a learner's own server, and end it afterwards."""
    base = f"/user/{name}/api"
    body = {"name": "", "path": f"{NOTEBOOK}.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    answer = browser.json("POST", f"{base}/sessions", body)
    assert answer.status_code == 201, answer.text
    session = answer.json()
    path = f"{base}/kernels/{session['kernel']['id']}/channels"
    opened = websocket.create_connection(
        browser.address.replace("http", "ws") + path, cookie=browser.cookies(path), timeout=300
    )
    try:
        yield Kernel(opened)
    finally:
        opened.close()
        browser.json("DELETE", f"{base}/sessions/{session['id']}")


def run_notebook(room: Room, name: str) -> list[str]:
    """Do notebook 1's part and notebook 2 with one exercise's check; the errors that came."""
    browser = room.learner(name)
    errors = []
    with kernel(browser, name) as opened:
        opened.run("from helpers.fast_forward import fast_forward; fast_forward(2)")
        for cell in documents.read(documents.NOTEBOOKS / f"{NOTEBOOK}.ipynb").cells:
            if cell.cell_type == "code":
                errors.append(opened.run(cell.source)[1])
    return [error for error in errors if error]


def rows(page: str) -> dict[str, list[str]]:
    """The lead's table: the cells of each learner, as text."""
    lines = re.findall(r"<tr><th scope=\"row\">(\w+)</th>(.*?)</tr>", page, re.DOTALL)
    return {
        name: [re.sub(r"<[^>]*>", "", one).strip() for one in re.findall(r"<td.*?</td>", rest, re.DOTALL)]
        for name, rest in lines
    }


def test_three_learners_and_a_lead_at_once(room: Room, axe: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(NAMES)) as pool:
        assert list(pool.map(lambda name: run_notebook(room, name), NAMES)) == [[], [], []]
    lead = room.lead()
    seen = rows(lead.get("/services/room/").text)
    assert {name: cells[1] for name, cells in seen.items()} == dict.fromkeys(NAMES, NOTEBOOK)
    assert all(cells[0] == "runs" and int(cells[-1].split()[0]) > 100 for cells in seen.values()), seen
    # No learner sees another's server, nor the lead's page.
    ada = room.learner("ada")
    assert ada.get("/user/grace/api/contents").status_code == 403
    assert ada.get("/services/room/").status_code == 403
    assert ada.post("/services/room/", {"action": "end"}).status_code == 403
    # Worlds of their own: each has a project, and none of the others' repositories.
    worlds = {name: starter.status(room.folder / "learners" / name).world for name in NAMES}
    assert len({world.info.project_id for world in worlds.values() if world}) == 3
    results = list(csv.DictReader(lead.get("/services/room/results.csv").text.splitlines()))
    assert {one["learner"] for one in results} == set(NAMES)
    program = chrome.find()
    if program:
        with chrome.open_tab(program, tmp_path / "profile") as tab:
            look_at_the_room(tab, room, axe)


def look_at_the_room(tab: chrome.Tab, room: Room, axe: str) -> None:
    """Look at the page at both sizes, with the lead's cookies in a browser."""
    enter(tab, room.lead())
    for width, height, scheme in ((1280, 900, "light"), (390, 844, "dark")):
        tab.look_as(width, height, scheme)
        tab.open(f"{room.address}/services/room/")
        assert "The room" in tab.ask("document.body.textContent")
        keep_picture(tab, f"room-{width}-{scheme}.png")
        assert tab.ask("document.documentElement.scrollWidth") <= width
        assert findings(tab, axe) == []


DEPLOY = f"""
import os, pathlib
from helpers import deploys, images, projects, repositories, target
from helpers.fast_forward import fast_forward
fast_forward(4)
here = target.current()
projects.enable(here.location.project, "run.googleapis.com")
tag = here.repository_name.image("flowers").tag("1.0.0")
base = {{"PYTHON_IMAGE": os.environ["PYTHON_IMAGE"]}}
images.build(tag, context=pathlib.Path({str(Path(__file__).parent / "service")!r}), build_args=base)
images.push(tag)
[stored] = [one for one in repositories.images(here.repository_name) if one.image.image == tag.image]
deploys.deploy(here.location, "flowers", stored.image)
deploys.open_to_all(here.location, "flowers")
"""


def enter(tab: chrome.Tab, browser: Browser) -> None:
    """Give a tab the cookies of somebody who is signed in."""
    tab.call("Network.clearBrowserCookies")
    for name, value, path in browser.kept():
        tab.call("Network.setCookie", name=name, value=value, path=path, url=browser.address)


def holds(tab: chrome.Tab, condition: str) -> None:
    """Wait until a condition holds in the page, whichever page is there then."""
    until(lambda: bool(tab.ask(f"Boolean({condition})")), 60)


def test_a_learner_opens_console_and_service_through_the_hub(room: Room, tmp_path: Path) -> None:
    ada, grace = room.learner("ada"), room.learner("grace")
    assert grace.get("/user/ada/workbook/console").status_code == 403
    program = chrome.find()
    assert program, "Chromium"
    with kernel(ada, "ada") as opened:
        assert opened.run(DEPLOY)[1] == ""
        below, error = opened.run("%%terminal\ngcloud run services describe flowers --region=$REGION")
        place = re.search(r"/user/ada/workbook/flowers-[\w.-]+run\.app/", below)
        assert place, below + error
    assert grace.get(place[0]).status_code == 403
    with chrome.open_tab(program, tmp_path / "profile") as tab:
        enter(tab, ada)
        tab.look_as(1280, 900, "light")
        tab.open(f"{room.address}/user/ada/workbook/console/progress")
        holds(tab, "document.querySelector('h1')?.textContent === 'Progress'")
        keep_picture(tab, "room-console.png")
        tab.open(f"{room.address}{place[0]}")
        assert tab.ask("window.origin") == "null"
        assert tab.ask("fetch('/user/ada/api/contents').then(() => 'read', () => 'refused')") == "refused"
        keep_picture(tab, "room-service.png")
        tab.ask("document.querySelector('form').requestSubmit()")
        holds(tab, "document.querySelector('.answer')")
        assert tab.ask("document.querySelector('.answer').textContent") == "flower=iris, cookies: token=of-the-form"
        keep_picture(tab, "room-service-answer.png")


def test_the_lead_says_something_and_looks_with_leave(room: Room, axe: str, tmp_path: Path) -> None:
    lead, linus = room.lead(), room.learner("linus")
    assert lead.get("/user/linus/api/contents").status_code == 403
    assert lead.get("/services/room/look/linus/").status_code == 403
    said = {"action": "message", "what": "<b>Coffee</b> at ten", "notebook": NOTEBOOK}
    assert "Shown to ada, grace, linus." in lead.post("/services/room/", said).text
    assert "Asked linus." in lead.post("/services/room/", {"action": "ask", "who": "linus"}).text
    program = chrome.find()
    assert program, "Chromium"
    with chrome.open_tab(program, tmp_path / "profile") as tab:
        enter(tab, linus)
        tab.look_as(1280, 900, "light")
        tab.open(f"{room.address}/user/linus/lab")
        bar = "[...document.querySelectorAll('[role=status]')].find(one => one.textContent.includes('From the lead'))"
        holds(tab, bar)
        assert "<b>Coffee</b> at ten" in tab.ask(f"{bar}.textContent")
        keep_picture(tab, "room-board.png")
        press = "[...document.querySelectorAll('[role=status] button')].find(one => one.textContent === '{}').click()"
        tab.ask(press.format("Allow for an hour"))
        holds(tab, "document.body.textContent.includes('The lead may look at your notebooks')")
        tab.ask(press.format(f"Open {NOTEBOOK}"))
        tabs = "[...document.querySelectorAll('.lm-TabBar-tabLabel')].map(one => one.textContent)"
        holds(tab, f"{tabs}.includes('{NOTEBOOK}.ipynb')")
        keep_picture(tab, "room-board-opened.png")
        assert 'href="look/linus/"' in lead.get("/services/room/").text
        enter(tab, lead)
        tab.open(f"{room.address}/services/room/look/linus/{NOTEBOOK}")
        keep_picture(tab, "room-look.png")
        assert tab.ask("document.body.textContent.includes('Create')")
        tab.open(f"{room.address}/services/room/look/linus/")
        assert findings(tab, axe) == []
        assert lead.get("/services/room/look/linus/..%2f..%2fadmin-token").status_code == 404
        enter(tab, linus)
        tab.open(f"{room.address}/user/linus/lab")
        holds(tab, "document.body.textContent.includes('The lead may look at your notebooks')")
        tab.ask(press.format("No longer"))
        until(lambda: lead.get("/services/room/look/linus/").status_code == 403, 180)
    assert lead.get("/services/room/look/ada/").status_code == 403


def test_a_forgotten_password_is_chosen_anew(room: Room) -> None:
    lead = room.lead()
    assert "is theirs" in lead.post("/services/room/", {"action": "forget", "who": "grace"}).text
    fresh = Browser(room.address)
    fresh.sign_in("grace", "another-password")
    assert fresh.get("/hub/api/user").status_code != 403
    assert "is theirs" in lead.post("/services/room/", {"action": "forget", "who": "grace"}).text
    assert Browser(room.address).sign_in("grace", "password-of-grace").status_code == 200


def test_the_lead_sees_a_check_within_five_seconds(room: Room) -> None:
    lead, grace = room.lead(), room.learner("grace")
    with kernel(grace, "grace") as opened:
        opened.run("import os; os.environ['WORKBOOK_NOTEBOOK'] = '08_clean_up_old_images'")
        opened.run("from helpers import answers; answers.note(2, 'not yet')")
        until(lambda: rows(lead.get("/services/room/").text)["grace"][1:3] == ["08_clean_up_old_images", "2"], 5)


def test_what_happens_to_one_happens_to_nobody_else(room: Room) -> None:
    lead = room.lead()
    for name in NAMES:
        room.learner(name)
    worlds = {name: starter.status(room.folder / "learners" / name).world for name in NAMES}
    before = {name: world.admin("status")["time"][:10] for name, world in worlds.items() if world}
    assert "Done for ada." in lead.post("/services/room/", {"action": "travel", "what": "30", "who": "ada"}).text
    after = {name: world.admin("status")["time"][:10] for name, world in worlds.items() if world}
    assert [name for name in NAMES if before[name] != after[name]] == ["ada"]
    answer = lead.post("/services/room/", {"action": "reset", "what": NOTEBOOK, "who": "linus"})
    assert "linus begins 02_create_a_repository anew" in answer.text
    again = {name: starter.status(room.folder / "learners" / name).world for name in NAMES}
    changed = [name for name in NAMES if again[name] != worlds[name]]
    assert changed == ["linus"]
    assert list((room.folder / "learners" / "linus" / "lab" / "notebooks").glob(f"{NOTEBOOK}-until-*.ipynb"))


@pytest.mark.parametrize(
    "form",
    [
        {"action": "travel", "what": "0"},
        {"action": "travel", "what": "nan"},
        {"action": "fault", "what": "rm -rf"},
        {"action": "reset", "what": NOTEBOOK},
        {"action": "reset", "what": "../x", "who": "ada"},
    ],
    ids=["no time", "no number", "no fault", "everybody", "no notebook"],
)
def test_what_cannot_be_done_says_why(form: dict[str, str], room: Room) -> None:
    answer = room.lead().post("/services/room/", form)
    assert answer.status_code == 200
    assert re.search(r'<p role="status">(Days are|There is no|One learner)', answer.text)


@pytest.mark.parametrize("form", [{"action": "nothing"}, {"action": "end", "who": "mallory"}, {}], ids=str)
def test_a_form_that_is_none_is_refused(form: dict[str, str], room: Room) -> None:
    assert room.lead().post("/services/room/", form).status_code == 400


def test_the_end_of_the_day_ends_everything(room: Room) -> None:
    lead = room.lead()
    room.learner("ada")
    assert "have stopped" in lead.post("/services/room/", {"action": "end"}).text
    for name in NAMES:
        home = room.folder / "learners" / name
        assert starter.status(home).world is None
        assert processes.with_arguments("-m", "sandbox", str(home)) is None
    assert {name: cells[0] for name, cells in rows(lead.get("/services/room/").text).items()} == dict.fromkeys(
        NAMES, ""
    )
