"""What the console shows of a repository's contents, of triggers and of the learner's progress."""

from __future__ import annotations

import dataclasses
import datetime as dt
import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import Client

from helpers import answers
from sandbox.artifact_registry import catalog
from sandbox.console import progress, views
from sandbox.state.clock import timestamp
from sandbox.state.world import World
from tests.sandbox import in_process

NAME = "projects/{}/locations/us-central1/repositories/r"
HOSTILE = '"><script>alert(1)</script> \u202egnp.exe'


@dataclasses.dataclass(frozen=True)
class Shop:
    """A learner who is signed in to the console, and a repository."""

    browser: Client
    world: World
    name: str

    @property
    def page(self) -> str:
        project, location, repository = self.name.split("/")[1::2]
        return f"/console/projects/{project}/repositories/{location}/{repository}"

    def put(self, number: int, package: str = "web", *, subject: str = "", artifact: str = "") -> str:
        """Put a version there."""
        digest = f"sha256:{number:064x}"
        version = catalog.Version(self.name, package, digest, "x", artifact, subject, 10, 10, {}, "", "", "")
        with self.world.writing() as rows:
            catalog.put_version(rows, self.world, version, children=[])
        return digest

    def tag(self, tag: str, digest: str, package: str = "web") -> None:
        with self.world.writing() as rows:
            found = catalog.find_repository(rows, self.name)
            assert found
            catalog.set_tag(rows, self.world, found, package, tag, digest)

    def become(self, **message: object) -> None:
        """Change the repository."""
        with self.world.writing() as rows:
            text = json.dumps({"format": "DOCKER", **message})
            rows.execute("UPDATE repositories SET message = ? WHERE name = ?", (text, self.name))


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[in_process.Learner]:
    with in_process.signed_in(tmp_path_factory.mktemp("home")) as found:
        found.enable("artifactregistry.googleapis.com", "cloudbuild.googleapis.com", "logging.googleapis.com")
        member = f"serviceAccount:learner@{found.project}.iam.gserviceaccount.com"
        admin = {"Authorization": "Bearer admin"}
        code = found.session.post("/_sandbox/console:signIn", headers=admin, json={"member": member}).json()["code"]
        assert found.session.get(f"/console/sign-in?code={code}").status_code == 200
        yield found


@pytest.fixture
def shop(learner: in_process.Learner) -> Iterator[Shop]:
    name, world = NAME.format(learner.project), learner.world
    now = timestamp(world.now())
    with world.writing() as rows:
        values = (name, learner.project, json.dumps({"format": "DOCKER"}), now, now)
        rows.execute("INSERT INTO repositories VALUES (?, ?, 'us-central1', 'r', ?, ?, ?)", values)
    yield Shop(learner.session, world, name)
    with world.writing() as rows:
        catalog.remove_repository(rows, name)


def links(text: str, ending: str) -> list[str]:
    return [html.unescape(one) for one in re.findall(rf'href="([^"]*{ending})"', text)]


def test_packages_and_their_versions_have_pages(shop: Shop) -> None:
    shop.become(format="NPM")
    for number in range(60):
        shop.put(number, "@team/app")
    [package] = links(shop.browser.get(shop.page).text, '/packages/[^"]+')
    first = shop.browser.get(package)
    assert first.status_code == 200, first.text
    assert "<h1><bdi>@team/app</bdi></h1>" in first.text
    [further] = re.findall(r'rel="next" href="([^"]+)"', first.text)
    second = shop.browser.get(package + html.unescape(further)).text
    seen = re.findall(r"<bdi>(sha256:[0-9a-f]{64})</bdi>", first.text + second)
    assert sorted(seen) == [f"sha256:{number:064x}" for number in range(60)]


def test_an_image_shows_what_is_attached_to_it(shop: Shop) -> None:
    image, sbom, signature = (
        shop.put(1),
        shop.put(2, subject=f"sha256:{1:064x}", artifact="application/spdx+json"),
        shop.put(3),
    )
    shop.tag("1.0.0", image)
    shop.tag(f"sha256-{1:064x}.sig", signature)
    [package] = set(links(shop.browser.get(shop.page).text, '/packages/[^"]+'))
    listed = shop.browser.get(package).text
    assert "<code>1.0.0</code>" in listed
    shown = shop.browser.get(f"{shop.page}/web@{image}").text
    assert "<bdi>application/spdx+json</bdi>" in shown
    assert "<bdi>signature (cosign)</bdi>" in shown
    [link] = links(shown, f"web%40{sbom.replace(':', '%3A')}")
    assert shop.browser.get(link).status_code == 200


def test_cleanup_says_when_it_runs_next_and_what_it_did(shop: Shop) -> None:
    policy = {"old": {"id": "old", "action": "DELETE", "condition": {"tagState": "UNTAGGED"}}}
    shop.become(cleanupPolicies=policy)
    digest = shop.put(1)
    before = shop.browser.get(shop.page).text
    assert "No run has found anything to delete" in before
    [due] = re.findall(r'Next run: <time datetime="([^"]+)"', before)
    assert dt.datetime.fromisoformat(due).time() == dt.time()
    assert dt.datetime.fromisoformat(due) > shop.world.now()
    answer = shop.browser.post(
        "/_sandbox/clock:advance", headers={"Authorization": "Bearer admin"}, json={"seconds": 86400}
    )
    assert answer.json()["cleanups"]
    after = shop.browser.get(shop.page).text
    assert "1 deleted" in after
    assert f"<bdi>web@{digest}</bdi>" in after
    [then] = re.findall(r'Next run: <time datetime="([^"]+)"', after)
    assert dt.datetime.fromisoformat(then) == dt.datetime.fromisoformat(due) + dt.timedelta(days=1)


def test_triggers_say_what_begins_them(shop: Shop, learner: in_process.Learner) -> None:
    trigger = {
        "id": "t-1",
        "name": "on-push",
        "description": HOSTILE,
        "github": {"owner": "o", "name": "n", "push": {"branch": "^main$"}},
        "filename": HOSTILE,
    }
    with shop.world.writing() as rows:
        rows.execute(
            "INSERT INTO triggers VALUES ('t-1', ?, 'us-central1', 'on-push', ?)",
            (learner.project, json.dumps(trigger)),
        )
    shown = shop.browser.get(f"/console/projects/{learner.project}").text
    assert "<bdi>a push to branch ^main$</bdi>" in shown
    assert "<script>alert" not in shown
    assert "alert(1)" in shown


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({}, "by hand"),
        ({"github": {"push": {"tag": "v.*"}}}, "a push to tag v.*"),
        ({"repositoryEventConfig": {"pullRequest": {"branch": "main", "invertRegex": True}}},
         "a pull request to everything but branch main"),
    ],
    ids=["by hand", "tag", "pull request"],
)  # fmt: skip
def test_events_of_triggers(trigger: dict[str, object], said: str) -> None:
    assert views._event(trigger) == said


def test_names_that_look_like_markup_stay_text(shop: Shop) -> None:
    shop.become(format="GENERIC", description=HOSTILE, cleanupPolicies={HOSTILE: {"id": HOSTILE, "action": "KEEP"}})
    shop.put(1, HOSTILE)
    listing = shop.browser.get(shop.page).text
    [package] = links(listing, '/packages/[^"]+')
    for text in (listing, shop.browser.get(package).text):
        assert "<script>alert" not in text
        assert re.search("<bdi>[^<]*\u202e[^<]*</bdi>", text)


def test_progress_is_what_the_helpers_count(shop: Shop, tmp_path: Path) -> None:
    def line(exercise: int, event: str, notebook: str = "02_x") -> str:
        return json.dumps(
            {"time": "2026-11-02T12:00:00+00:00", "notebook": notebook, "exercise": exercise, "event": event}
        )

    lines = [
        line(1, "not yet"),
        line(1, "done"),
        line(1, "wrong"),
        line(2, "solution"),
        line(2, "done"),
        line(3, "wrong"),
    ]
    lines += ["{", "[]", line(1, "not yet", HOSTILE)]
    ours = [(one["notebook"], one["exercise"], one["how"], one["tries"]) for one in progress.standings(lines)]
    assert ours == [(one.notebook, one.exercise, one.how, one.tries) for one in answers.standings(lines)]
    assert progress.NAME == answers.NAME
    path = shop.world.folder.parent / answers.NAME
    assert "No exercise has been checked yet" in shop.browser.get("/console/progress").text
    path.write_text("\n".join(lines), encoding="utf-8")
    shown = shop.browser.get("/console/progress").text
    assert "2 exercises are done, 1 of them without the solution" in shown
    assert "<script>alert" not in shown
