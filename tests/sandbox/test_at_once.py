"""Callers at the same moment: every id is given once, and no change is lost."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.auth.transport.requests import AuthorizedSession

from tests.sandbox.conftest import ask, learner_with, project

SBOM = {"format": "spdx", "version": "2.3"}
BUILD = {"steps": [{"name": "ubuntu", "args": ["true"]}], "options": {"logging": "CLOUD_LOGGING_ONLY"}}


@pytest.fixture(scope="module")
def learner(environment: dict[str, str]) -> Iterator[AuthorizedSession]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with learner_with(
            "artifactregistry", "cloudbuild", "containeranalysis", "secretmanager", "iam", "run"
        ) as opened:
            yield opened


def at_once(count: int, call: Callable[[int], requests.Response]) -> list[requests.Response]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(call, range(count)))


def statuses(answers: list[requests.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def triggers(place: str = "us-central1") -> str:
    return f"https://cloudbuild.googleapis.com/v1/projects/{project()}/locations/{place}/triggers"


def test_forty_builds_at_once_have_forty_ids(learner: AuthorizedSession) -> None:
    url = f"https://cloudbuild.googleapis.com/v1/projects/{project()}/locations/us-central1/builds"
    # Refused for what it lacks or taken: never an internal error, never an id twice.
    answers = at_once(40, lambda _: learner.post(url, json=BUILD, timeout=60))
    assert set(statuses(answers)) == {200}, answers[0].text
    ids = [answer.json()["metadata"]["build"]["id"] for answer in answers]
    assert len(set(ids)) == 40
    for build in ids:
        learner.post(f"{url}/{build}:cancel", json={}, timeout=60)


def test_a_trigger_can_be_made_after_one_was_deleted(learner: AuthorizedSession) -> None:
    def create(name: str) -> dict[str, Any]:
        return ask(learner, "POST", triggers(), {"name": name, "build": BUILD})

    first, second = create("t-one"), create("t-two")
    ask(learner, "DELETE", f"{triggers()}/{first['id']}")
    third = create("t-three")
    assert len({first["id"], second["id"], third["id"]}) == 3


def test_a_trigger_cannot_take_the_name_of_another(learner: AuthorizedSession) -> None:
    for name in ("n-one", "n-two"):
        ask(learner, "POST", triggers(), {"name": name, "build": BUILD})
    refused = ask(learner, "PATCH", f"{triggers()}/n-two", {"name": "n-one", "build": BUILD}, status=409)
    assert refused["error"]["status"] == "ALREADY_EXISTS"
    assert ask(learner, "GET", f"{triggers()}/n-two")["name"] == "n-two"


def _make_repository(session: AuthorizedSession, name: str) -> requests.Response:
    url = f"https://artifactregistry.googleapis.com/v1/projects/{project()}/locations/us-central1/repositories"
    return session.post(url, params={"repositoryId": name}, json={"format": "DOCKER"}, timeout=60)


def _make_secret(session: AuthorizedSession, name: str) -> requests.Response:
    url = f"https://secretmanager.googleapis.com/v1/projects/{project()}/secrets"
    return session.post(url, params={"secretId": name}, json={"replication": {"automatic": {}}}, timeout=60)


def _make_account(session: AuthorizedSession, name: str) -> requests.Response:
    url = f"https://iam.googleapis.com/v1/projects/{project()}/serviceAccounts"
    return session.post(url, json={"accountId": name}, timeout=60)


def _make_pool(session: AuthorizedSession, name: str) -> requests.Response:
    url = f"https://iam.googleapis.com/v1/projects/{project()}/locations/global/workloadIdentityPools"
    return session.post(url, params={"workloadIdentityPoolId": name}, json={}, timeout=60)


def _make_note(session: AuthorizedSession, name: str) -> requests.Response:
    url = f"https://containeranalysis.googleapis.com/v1/projects/{project()}/notes"
    return session.post(url, params={"noteId": name}, json={"sbomReference": SBOM}, timeout=60)


def _make_role(session: AuthorizedSession, name: str) -> requests.Response:
    url = f"https://iam.googleapis.com/v1/projects/{project()}/roles"
    body = {"roleId": name.replace("-", "_"), "role": {"title": "x"}}
    return session.post(url, json=body, timeout=60)


@pytest.mark.parametrize(
    "make",
    [_make_repository, _make_secret, _make_account, _make_pool, _make_note, _make_role],
    ids=lambda make: make.__name__,
)
def test_of_sixteen_who_create_one_name_one_succeeds(
    learner: AuthorizedSession, make: Callable[[AuthorizedSession, str], requests.Response]
) -> None:
    name = f"once-{secrets.token_hex(4)}"
    answers = at_once(16, lambda _: make(learner, name))
    assert statuses(answers) == {200: 1, 409: 15}, {answer.text for answer in answers}


def test_fields_patched_at_once_are_all_kept(learner: AuthorizedSession) -> None:
    name = f"patched-{secrets.token_hex(4)}"
    assert _make_repository(learner, name).status_code == 200
    url = "https://artifactregistry.googleapis.com/v1/projects"
    url = f"{url}/{project()}/locations/us-central1/repositories/{name}"
    fields = {"description": "said", "labels": {"a": "b"}, "cleanupPolicyDryRun": True}
    for _ in range(6):
        ask(learner, "PATCH", f"{url}?updateMask=description,labels,cleanupPolicyDryRun", {})
        chosen = list(fields)
        answers = at_once(
            3,
            lambda place, chosen=chosen: learner.patch(
                f"{url}?updateMask={chosen[place]}", json={chosen[place]: fields[chosen[place]]}, timeout=60
            ),
        )
        assert set(statuses(answers)) == {200}
        found = ask(learner, "GET", url)
        assert {key: found.get(key) for key in fields} == fields


def test_fields_of_a_service_patched_at_once_are_all_kept(learner: AuthorizedSession) -> None:
    url = f"https://run.googleapis.com/v2/projects/{project()}/locations/us-central1/services"
    name = f"patched-{secrets.token_hex(4)}"
    image = f"us-central1-docker.pkg.dev/{project()}/images/nothing:1"
    ask(learner, "POST", f"{url}?serviceId={name}", {"template": {"containers": [{"image": image}]}})
    for number in range(8):
        ports = [{"containerPort": 9000 + number}]
        changes = {
            "template": {"template": {"containers": [{"image": image, "ports": ports}]}},
            "labels": {"labels": {"number": str(number)}},
        }
        answers = at_once(
            2,
            lambda place, changes=changes: learner.patch(
                f"{url}/{name}?updateMask={list(changes)[place]}", json=list(changes.values())[place], timeout=60
            ),
        )
        assert set(statuses(answers)) == {200}, [answer.text for answer in answers]
        found = ask(learner, "GET", f"{url}/{name}")
        assert found["labels"]["number"] == str(number)
        assert found["template"]["containers"][0]["ports"][0]["containerPort"] == 9000 + number
    ask(learner, "DELETE", f"{url}/{name}")


def test_secret_versions_added_at_once_are_numbered_once(learner: AuthorizedSession) -> None:
    name = f"versions-{secrets.token_hex(4)}"
    assert _make_secret(learner, name).status_code == 200
    url = f"https://secretmanager.googleapis.com/v1/projects/{project()}/secrets/{name}:addVersion"
    answers = at_once(16, lambda _: learner.post(url, json={"payload": {"data": "eA=="}}, timeout=60))
    assert set(statuses(answers)) == {200}
    assert sorted(int(answer.json()["name"].rpartition("/")[2]) for answer in answers) == list(range(1, 17))


@pytest.mark.parametrize("pattern", ["%25", "_", "%5F", "%", "*"])
def test_an_id_of_an_occurrence_is_no_pattern(learner: AuthorizedSession, pattern: str) -> None:
    base = f"https://containeranalysis.googleapis.com/v1/projects/{project()}"
    note = f"pattern-{secrets.token_hex(4)}"
    assert _make_note(learner, note).status_code == 200
    name = f"projects/{project()}/notes/{note}"
    body = {
        "resourceUri": "https://us-central1-docker.pkg.dev/p/r/i@sha256:" + "0" * 64,
        "noteName": name,
        "sbomReference": {"payload": {"predicateType": "x", "_type": "y"}, "payloadType": "z", "signatures": []},
    }
    made = ask(learner, "POST", f"{base}/occurrences", body)
    assert ask(learner, "GET", f"https://containeranalysis.googleapis.com/v1/{made['name']}")["name"] == made["name"]
    assert learner.get(f"{base}/occurrences/{pattern}", timeout=30).status_code in (400, 404)
