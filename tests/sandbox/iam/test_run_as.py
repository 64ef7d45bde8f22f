"""Start every operation that runs as a service account, and revoke registry tokens together with their account.

`test_acting` checks every role; here every operation is checked. The sandbox has no engine: an allowed build or
service is accepted, and fails later.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from cli.world import starter
from sandbox import seed
from sandbox.iam import policies, tokens
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World

OWN, OTHERS = "ml-workbook-own", "ml-workbook-others"
SERVICES = ("cloudbuild", "run", "iam", "storage", "artifactregistry", "containeranalysis")
BUILD = "/cloudbuild.googleapis.com/v1/projects/{project}/locations/us-central1"
KNATIVE = "/us-central1-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{project}/services"
RUN_V2 = "/run.googleapis.com/v2/projects/{project}/locations/us-central1/services"
IMAGE = "us-central1-docker.pkg.dev/ml-workbook-own/none/none"
STEPS: dict[str, Any] = {"steps": [{"name": "busybox"}], "options": {"logging": "CLOUD_LOGGING_ONLY"}}
SESSION = requests.Session()
SESSION.trust_env = False
# These roles can create builds and services, and have no permission on service accounts.
MAKERS = ("roles/cloudbuild.builds.editor", "roles/run.developer", "roles/artifactregistry.reader")


@dataclass
class Lab:
    """A running sandbox, with the access tokens of four callers: owner, maker, user and attacker.

    The maker has MAKERS; the user has them too, and may act as the runner; the attacker has them, and owns the other
    project.
    """

    world: starter.World
    tokens: dict[str, str]
    numbers: dict[str, str]
    runner: str
    count: Iterator[int] = field(default_factory=itertools.count)

    @property
    def base(self) -> str:
        return self.world.url

    def ask(self, who: str, verb: str, path: str, body: Any = None, project: str = OWN) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens.get(who, who)}"}
        return SESSION.request(verb, self.base + path.format(project=project), json=body, headers=headers, timeout=30)

    def done(self, who: str, verb: str, path: str, body: Any = None, project: str = OWN) -> Any:
        answer = self.ask(who, verb, path, body, project)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def next(self, kind: str) -> str:
        return f"{kind}-{next(self.count)}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("run-as")
    state = World(home / "state", Clock())
    about = seed.prepare(state, home, OWN, "us-central1")
    with state.writing() as rows:
        projects.create(rows, state, OTHERS, OTHERS, {})
        rows.execute("UPDATE projects SET billing_account = ?", (seed.BILLING_ACCOUNT,))
        runner = projects.add_service_account(rows, state, OWN, "runner", "")
        members = {"owner": f"serviceAccount:{about['learner']}"}
        for name in ("maker", "user", "attacker"):
            members[name] = f"serviceAccount:{projects.add_service_account(rows, state, OWN, f'{name}-of-ours', '')}"
            for role in MAKERS:
                policies.grant(rows, state, f"projects/{OWN}", role, members[name])
        account = f"projects/{OWN}/serviceAccounts/{runner}"
        policies.grant(rows, state, account, "roles/iam.serviceAccountUser", members["user"])
        policies.grant(rows, state, f"projects/{OTHERS}", "roles/owner", members["attacker"])
        numbers = {row["id"]: row["number"] for row in rows.execute("SELECT id, number FROM projects")}
    minted = {name: tokens.mint(state, member) for name, member in members.items()}
    state.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{home}/no-engine.sock")
        opened = starter.start(home, project=OWN, port=0)
    found = Lab(opened, minted, numbers, runner)
    try:
        for project, who in ((OWN, "owner"), (OTHERS, "attacker")):
            enable = "/serviceusage.googleapis.com/v1/projects/{project}/services:batchEnable"
            found.done(who, "POST", enable, {"serviceIds": [f"{one}.googleapis.com" for one in SERVICES]}, project)
        yield found
    finally:
        starter.stop(home)


def knative(account: str, name: str) -> dict[str, Any]:
    spec = {"containers": [{"image": IMAGE}]} | ({"serviceAccountName": account} if account else {})
    return {"metadata": {"name": name}, "spec": {"template": {"spec": spec}}}


def v2(account: str) -> dict[str, Any]:
    template = {"containers": [{"image": IMAGE}]} | ({"serviceAccount": account} if account else {})
    return {"template": template}


def trigger(name: str, account: str, *, inside: bool = False) -> dict[str, Any]:
    named = {"serviceAccount": account} if account else {}
    return {"name": name, "build": STEPS | (named if inside else {})} | ({} if inside else named)


def on_a_trigger(act: Callable[[Lab, str, str, str], requests.Response]) -> Callable[[Lab, str, str], Any]:
    """Return an operation on a new trigger of the owner's, which runs as the runner."""

    def ask(lab: Lab, who: str, account: str) -> requests.Response:
        made = lab.done("owner", "POST", f"{BUILD}/triggers", trigger(lab.next("t"), lab.runner))
        return act(lab, who, account, f"{BUILD}/triggers/{made['id']}")

    return ask


def replaced(lab: Lab, who: str, account: str) -> requests.Response:
    name = lab.next("s")
    lab.done("owner", "POST", KNATIVE, knative(lab.runner, name))
    return lab.ask(who, "PUT", f"{KNATIVE}/{name}", knative(account, name))


def patched(lab: Lab, who: str, account: str) -> requests.Response:
    name = lab.next("s")
    lab.done("owner", "POST", f"{RUN_V2}?serviceId={name}", v2(lab.runner))
    return lab.ask(who, "PATCH", f"{RUN_V2}/{name}", v2(account))


OPERATIONS: dict[str, Callable[[Lab, str, str], requests.Response]] = {
    "make a build": lambda lab, who, account: lab.ask(
        who, "POST", f"{BUILD}/builds", STEPS | ({"serviceAccount": account} if account else {})
    ),
    "make a trigger": lambda lab, who, account: lab.ask(
        who, "POST", f"{BUILD}/triggers", trigger(lab.next("t"), account)
    ),
    "make a trigger with the account in its build": lambda lab, who, account: lab.ask(
        who, "POST", f"{BUILD}/triggers", trigger(lab.next("t"), account, inside=True)
    ),
    "change a trigger": on_a_trigger(
        lambda lab, who, account, url: lab.ask(who, "PATCH", url, trigger(lab.next("t"), account) if account else None)
    ),
    "deploy": lambda lab, who, account: lab.ask(who, "POST", KNATIVE, knative(account, lab.next("s"))),
    "deploy by v2": lambda lab, who, account: lab.ask(who, "POST", f"{RUN_V2}?serviceId={lab.next('s')}", v2(account)),
    "deploy anew": replaced,
    "deploy anew by v2": patched,
}


def names(lab: Lab) -> dict[str, str]:
    """Return account names, in every spelling, that none of maker, user and attacker may act as."""
    default, other = f"{lab.numbers[OWN]}-compute@developer.gserviceaccount.com", lab.numbers[OTHERS]
    learner = f"learner@{OWN}.iam.gserviceaccount.com"
    agent = f"service-{lab.numbers[OWN]}@serverless-robot-prod.iam.gserviceaccount.com"
    return {
        f"{account} {parent or 'alone'}": f"projects/{parent}/serviceAccounts/{account}" if parent else account
        for account in (learner, default, agent)
        for parent in ("", OWN, lab.numbers[OWN], OTHERS, other, "-")
    } | {"the runner, in the attacker's project": f"projects/{OTHERS}/serviceAccounts/{lab.runner}"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_creator_without_act_as_is_refused(lab: Lab, operation: str) -> None:
    wrong = []
    for who in ("maker", "attacker"):
        for title, named in names(lab).items():
            answer = OPERATIONS[operation](lab, who, named)
            if answer.status_code != 403 or "act" not in answer.json()["error"]["message"]:
                wrong.append((who, title, answer.status_code, answer.text[:200]))
    assert not wrong


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "change a trigger"])
def test_default_account_requires_act_as(lab: Lab, operation: str) -> None:
    assert OPERATIONS[operation](lab, "maker", "").status_code == 403
    assert OPERATIONS[operation](lab, "user", "").status_code == 403
    assert OPERATIONS[operation](lab, "owner", "").status_code == 200
    default = f"{lab.numbers[OWN]}-compute@developer.gserviceaccount.com"
    assert OPERATIONS[operation](lab, "owner", default).status_code == 200


@pytest.mark.parametrize("operation", OPERATIONS)
def test_caller_with_act_as_can_run_as_the_account(lab: Lab, operation: str) -> None:
    for named in (
        lab.runner,
        f"projects/{OWN}/serviceAccounts/{lab.runner}",
        f"projects/-/serviceAccounts/{lab.runner}",
    ):
        answer = OPERATIONS[operation](lab, "user", named)
        assert answer.status_code == 200, (named, answer.text)


def test_running_a_trigger_requires_act_as_its_account(lab: Lab) -> None:
    made = lab.done("owner", "POST", f"{BUILD}/triggers", trigger(lab.next("t"), lab.runner))
    assert lab.ask("maker", "POST", f"{BUILD}/triggers/{made['id']}:run", {}).status_code == 403
    assert lab.ask("user", "POST", f"{BUILD}/triggers/{made['id']}:run", {}).status_code == 200


def test_build_can_run_as_its_own_projects_legacy_account_only(lab: Lab) -> None:
    legacy = f"{lab.numbers[OWN]}@cloudbuild.gserviceaccount.com"
    assert lab.ask("maker", "POST", f"{BUILD}/builds", STEPS | {"serviceAccount": legacy}).status_code == 200
    other = f"{lab.numbers[OTHERS]}@cloudbuild.gserviceaccount.com"
    assert lab.ask("attacker", "POST", f"{BUILD}/builds", STEPS | {"serviceAccount": other}).status_code == 403


@pytest.mark.parametrize(
    "project", ["serverless-robot-prod", "gcp-sa-artifactregistry", "gcp-sa-pubsub", "container-analysis", "my-google1"]
)
def test_reserved_project_id_is_refused(lab: Lab, project: str) -> None:
    body = {"projectId": project}
    answer = lab.ask("attacker", "POST", "/cloudresourcemanager.googleapis.com/v1/projects", body)
    assert answer.status_code == 400
    assert "reserved" in answer.text


def test_bucket_name_of_googles_logs_is_refused(lab: Lab) -> None:
    body = {"name": f"{lab.numbers[OWN]}.cloudbuild-logs.googleusercontent.com"}
    answer = lab.ask("attacker", "POST", f"/storage.googleapis.com/storage/v1/b?project={OTHERS}", body)
    assert answer.status_code == 400


def test_log_bucket_of_another_project_is_refused(lab: Lab) -> None:
    bucket = f"{lab.numbers[OWN]}-us-central1-cloudbuild-logs"
    lab.done("attacker", "POST", f"/storage.googleapis.com/storage/v1/b?project={OTHERS}", {"name": bucket})
    build = {"steps": STEPS["steps"], "options": {"defaultLogsBucketBehavior": "REGIONAL_USER_OWNED_BUCKET"}}
    answer = lab.ask("owner", "POST", f"{BUILD}/builds", build)
    assert answer.status_code == 400
    assert "not one of project" in answer.text
    url = f"/storage.googleapis.com/storage/v1/b/{bucket}/o"
    assert not lab.done("attacker", "GET", url).get("items")


def made(lab: Lab, account_id: str) -> tuple[str, dict[str, Any]]:
    """Create an account in the project, and return its email and its key file."""
    url = f"/iam.googleapis.com/v1/projects/{OWN}/serviceAccounts"
    email: str = lab.done("owner", "POST", url, {"accountId": account_id})["email"]
    key = lab.done("owner", "POST", f"{url}/{email}/keys", {})
    grant(lab, email)
    return email, json.loads(base64.b64decode(key["privateKeyData"]))


def grant(lab: Lab, email: str) -> None:
    url = "/cloudresourcemanager.googleapis.com/v1/projects/{project}"
    policy = lab.done("owner", "POST", f"{url}:getIamPolicy", {})
    policy["bindings"].append({"role": "roles/artifactregistry.writer", "members": [f"serviceAccount:{email}"]})
    lab.done("owner", "POST", f"{url}:setIamPolicy", {"policy": policy})


def registry_token(lab: Lab, key: dict[str, Any]) -> str:
    answer = SESSION.get(
        f"{lab.base}/v2/token?service=localhost:{lab.base.rpartition(':')[2]}",
        auth=("_json_key", json.dumps(key)),
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def pings(lab: Lab, token: str) -> int:
    return SESSION.get(f"{lab.base}/v2/", headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code


@pytest.mark.parametrize("end", ["disable", "disable and enable", "delete", "delete and make anew"])
def test_registry_tokens_are_revoked_with_their_account(lab: Lab, end: str) -> None:
    email, key = made(lab, lab.next("ends-with-it"))
    token = registry_token(lab, key)
    assert pings(lab, token) == 200
    url = f"/iam.googleapis.com/v1/projects/{OWN}/serviceAccounts"
    if end.startswith("disable"):
        lab.done("owner", "POST", f"{url}/{email}:disable", {})
    else:
        lab.done("owner", "DELETE", f"{url}/{email}")
    assert pings(lab, token) == 401
    if end == "disable and enable":
        lab.done("owner", "POST", f"{url}/{email}:enable", {})
        assert pings(lab, registry_token(lab, key)) == 200
    elif end == "delete and make anew":
        lab.done("owner", "POST", url, {"accountId": email.partition("@")[0]})
        grant(lab, email)
    assert pings(lab, token) == 401


def test_expiring_all_tokens_revokes_registry_tokens(lab: Lab) -> None:
    email, key = made(lab, lab.next("expires"))
    token = registry_token(lab, key)
    assert pings(lab, token) == 200
    lab.world.admin("tokens:expire", {})
    assert pings(lab, token) == 401
    # A token that is made later from the same key is valid.
    assert pings(lab, registry_token(lab, key)) == 200, email
