"""Nothing in silence, in every API: each field of each message is told back, acted on, or refused by its name.

`test_every_field.py` asks the same of repositories, services, builds and triggers with the whole sandbox behind them.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import seed
from sandbox.api import parameters
from sandbox.cloud_run import deployment
from sandbox.errors import ApiError
from tests.sandbox import google_messages, in_process
from tests.sandbox.in_process import Learner
from tests.sandbox.recipes import ELSEWHERE, RECIPES, Recipe

SERVICES = (
    "artifactregistry",
    "containeranalysis",
    "iam",
    "iamcredentials",
    "logging",
    "ondemandscanning",
    "run",
    "cloudbuild",
)
UNKNOWN = "colour"
NUMBERS = itertools.count(100)


@dataclass(frozen=True)
class Case:
    method: str
    document: str
    path: str
    field: str
    kind: str

    @property
    def id(self) -> str:
        return ".".join(filter(None, (self.method, self.path, self.field)))


def cases() -> Iterator[Case]:
    seen = set()
    for key, taken in google_messages.METHODS.items():
        method, document = key.split()
        recipe = RECIPES.get(method)
        # Of a method that two versions of an API have, the first.
        if recipe is not None and "body" in taken and method not in seen:
            seen.add(method)
            for path in recipe.under or ("",):
                known = google_messages.fields(document, taken["body"], path)
                for name, kind in {**known, UNKNOWN: "string"}.items():
                    yield Case(method, document, path, name, kind)


CASES = list(cases())


@pytest.fixture(scope="module", autouse=True)
def no_engine() -> Iterator[None]:
    """What a service is told of its fields, it is told before it starts."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(deployment, "begin", lambda _world, _name: None)
        yield


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learner]:
    home = tmp_path_factory.mktemp("in-process")
    (home / "sandbox.json").write_text('{"port": 5001, "edge_port": 5002}')
    with in_process.signed_in(home) as found:
        found.enable(*(f"{name}.googleapis.com" for name in (*SERVICES, "secretmanager", "billingbudgets")))
        yield found


def filled(value: Any, names: dict[str, str]) -> Any:
    text = json.dumps(value)
    for name, known in names.items():
        text = text.replace(f"{{{name}}}", known)
    return json.loads(text)


def placed(base: Any, path: str, field: str, value: Any) -> Any:
    """The base with one field more; what it has already stays."""
    head, _, rest = path.partition(".")
    if isinstance(base, list):
        return [placed(base[0], path, field, value)]
    if not head:
        return base if field in base else {**base, field: value}
    return {**base, head: placed(base.get(head, {}), rest, field, value)}


def at(answer: Any, path: str) -> Any:
    for part in filter(None, path.split(".")):
        answer = answer.get(part, {}) if isinstance(answer, dict) else {}
        answer = answer[0] if isinstance(answer, list) and answer else answer
    return answer


def push(learner: Learner, image: str) -> str:
    """Push an image without layers, and return its digest."""
    url, config = f"https://us-central1-docker.pkg.dev/v2/{image}", b"{}"
    token = learner.session.headers["Authorization"].partition(" ")[2]
    sign_in = httpx.BasicAuth("oauth2accesstoken", token)
    blob = f"sha256:{hashlib.sha256(config).hexdigest()}"
    sent = learner.session.post(f"{url}/blobs/uploads/?digest={blob}", data=config, auth=sign_in)
    assert sent.status_code == 201, sent.text
    kind = "application/vnd.oci.image.manifest.v1+json"
    about = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob, "size": len(config)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": about, "layers": []}).encode()
    sent = learner.session.put(f"{url}/manifests/v1", data=manifest, auth=sign_in, headers={"Content-Type": kind})
    assert sent.status_code == 201, sent.text
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def send(learner: Learner, case: Case, recipe: Recipe) -> tuple[httpx.Response, Any]:
    names = {"project": learner.project, "id": f"f-{next(NUMBERS):06}", "billing": seed.BILLING_ACCOUNT}
    names["learner"] = f"learner@{learner.project}.iam.gserviceaccount.com"
    if ".roles." in case.method:
        names["id"] = names["id"].replace("-", "_")
    for verb, url, body in recipe.before:
        if verb == "PUSH":
            names["digest"] = push(learner, f"{learner.project}/{names['id']}/app")
            continue
        made = learner.session.request(verb, filled(url, names), json=filled(body, names) or None)
        assert made.status_code == 200, made.text
    value = google_messages.example(case.document, case.kind.removeprefix("!"))
    base, url = filled(recipe.base, names), filled(recipe.url, names)
    if not case.path and case.field in recipe.instead:
        base = {name: one for name, one in base.items() if name not in recipe.instead}
    body = placed(base, case.path, case.field, value)
    if recipe.masked == "?":
        url += f"{'&' if '?' in url else '?'}updateMask={case.field}"
    elif recipe.masked and case.path:
        body[recipe.masked] = case.field
    return learner.session.request(recipe.verb, url, json=body), value


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_field_is_kept_acted_on_or_refused_by_name(learner: Learner, case: Case) -> None:
    recipe = RECIPES[case.method]
    answer, value = send(learner, case, recipe)
    found = answer.json()
    assert answer.status_code in (200, 400, 403, 409, 501), answer.text
    if answer.status_code != 200:
        said = re.sub("[^a-z]", "", found["error"]["message"].lower())
        named = re.sub("[^a-z]", "", re.sub("s$", "", case.field.lower())) in said
        assert named or recipe.words.get(case.field, "\0") in found["error"]["message"], found["error"]["message"]
        return
    if recipe.told == "response" and "response" not in found:
        host = "/".join(recipe.url.split("/")[:3])
        found = learner.ask("GET", f"{host}/{recipe.url.split('/')[3]}/{found['name']}")
    where = (recipe.under or {"": ""})[case.path]
    told = at(found, ".".join(filter(None, (recipe.told, where)))) if where != "-" else {}
    if case.kind.startswith("!"):
        # Google's own to write: what a caller sends of it means nothing.
        assert not isinstance(told, dict) or told.get(case.field) != value or isinstance(value, bool)
        return
    kept = isinstance(told, dict) and case.field in told
    assert kept or case.field in (*recipe.acted, *recipe.ignored), f"{case.field} was taken and not told back"


EMPTY = [
    key.split()[0]
    for key, taken in google_messages.METHODS.items()
    if taken.get("body") and not google_messages.fields(key.split()[1], taken["body"])
]


@pytest.mark.parametrize("method", sorted({*EMPTY, "cloudbuild.projects.builds.cancel"}))
def test_a_method_without_fields_takes_none(method: str) -> None:
    parameters.check_message(method, b" {} ")
    with pytest.raises(ApiError, match='Unknown name "colour": Cannot find field'):
        parameters.check_message(method, b'{"colour": 1}')


def test_every_method_that_takes_a_message_is_here() -> None:
    methods = {key.split()[0] for key, taken in google_messages.METHODS.items() if taken.get("body")}
    assert methods - RECIPES.keys() - ELSEWHERE.keys() - {*EMPTY} == {
        # The path says what they take, and `check_message` what else.
        *(f"cloudbuild.projects.builds.{verb}" for verb in ("cancel", "retry")),
    }
    assert all((Path(__file__).parents[1] / file).is_file() for file in ELSEWHERE.values())
