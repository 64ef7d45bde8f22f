"""Every route of the dispatch table, called with every kind of bad credential over a real socket: refused.

Open routes are listed here by name. A new method of `sandbox.apis`, of the registry or of the admin surface is called
without anybody thinking of it.
"""

from __future__ import annotations

import ast
import inspect
import json
import secrets
from collections.abc import Iterator

import pytest
import requests

from cli.world import starter as starter
from sandbox import seed
from sandbox.admin import surface
from sandbox.api.methods import Api, Method
from sandbox.apis import APIS
from sandbox.iam import policies, tokens
from sandbox.oci import registry as router
from sandbox.project.service_usage import SERVICES
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox.intruders import (
    BAD,
    BODIES,
    CONFIG,
    CONFIG_DIGEST,
    CONTENT,
    DIGEST,
    HOST,
    MANIFEST,
    QUERIES,
    Target,
    credentials,
    foreign_pem,
    forge,
    host_of,
)

# Open to callers without a credential: the exchange of a key or a foreign token for a token, and whose token this is.
OPEN = {"oauth2.token", "oauth2.tokeninfo", "oauth2.v4.token", "sts.introspect", "sts.token"}
# Open to everybody who is signed in, and why another project's principal learns nothing of this one.
SIGNED_IN = {
    "iam.roles.list": "Google's own roles, the same for everybody",
    "iam.roles.get": "Google's own roles, the same for everybody",
    "iam.permissions.queryTestablePermissions": "Google's own permissions, the same for everybody",
    "iamcredentials.projects.serviceAccounts.getAllowedLocations": "a constant",
    "cloudresourcemanager.projects.create": "a project of one's own",
    "cloudresourcemanager.projects.list": "the projects that the caller may see",
    "cloudbilling.billingAccounts.list": "the accounts that the caller may see",
    "containeranalysis.goog-vulnz.notes.get": "the vulnerability notes that Google publishes, the same for everybody",
}
# A resumable upload is continued by whoever knows its address, as on Google; an invented one is not there.
# https://cloud.google.com/storage/docs/resumable-uploads#session-uris
BY_ADDRESS = ("storage.objects.insert", "PUT")
# They say which of the asked permissions the caller has: nothing, to a stranger.
TESTS = ".testIamPermissions"
ROUTES = [(api, method) for api in APIS for method in api.methods]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    home = tmp_path_factory.mktemp("routes")
    project, other = f"ml-workbook-{secrets.token_hex(3)}", f"ml-other-{secrets.token_hex(3)}"
    state = World(home / "state", Clock())
    about = seed.prepare(state, home, project, "us-central1")
    learner = f"serviceAccount:{about['learner']}"
    with state.writing() as rows:
        projects.create(rows, state, other, "Another", {})
        stranger = f"serviceAccount:{projects.add_service_account(rows, state, other, 'stranger', '')}"
        policies.grant(rows, state, f"projects/{other}", "roles/owner", stranger)
        going = f"{project[:20]}-going"
        projects.create(rows, state, going, "Going", {})
        policies.grant(rows, state, f"projects/{going}", "roles/owner", learner)
        for one in (project, other, going):
            rows.executemany(
                "INSERT OR IGNORE INTO services (project, service, enable_time) VALUES (?, ?, ?)",
                [(one, service, "2026-01-01T00:00:00Z") for service in SERVICES],
            )
    owner, expired = tokens.mint(state, learner), tokens.mint(state, learner, lifetime=-1)
    bad = {"garbage": "ya29.garbage", "expired token": expired, "foreign key": foreign_pem()}
    strange = tokens.mint(state, stranger)
    state.close()
    opened = starter.start(home, project=project, port=0)
    found = Target(
        opened.url,
        opened.info.edge_port,
        str(home / "ca" / "ca.pem"),
        home,
        project,
        about["project_number"],
        owner,
        bad,
        strange,
    )
    try:
        parent = f"/artifactregistry.googleapis.com/v1/projects/{project}/locations/us-central1/repositories"
        for name in ("private", "public"):
            made = found.call("POST", f"{parent}?repositoryId={name}", owner, json={"format": "DOCKER"})
            assert made.status_code == 200, made.text
            image = f"/v2/{HOST}/{project}/{name}/app"
            blob = found.call("POST", f"{image}/blobs/uploads/?digest={CONFIG_DIGEST}", owner, data=CONFIG)
            assert blob.status_code == 201, blob.text
            put = found.call("PUT", f"{image}/manifests/v1", owner, data=CONTENT, headers={"Content-Type": MANIFEST})
            assert put.status_code == 201, put.text
        policy = {"bindings": [{"role": "roles/artifactregistry.reader", "members": ["allUsers"]}]}
        assert found.call("POST", f"{parent}/public:setIamPolicy", owner, json={"policy": policy}).ok
        role = {"roleId": "mover", "role": {"includedPermissions": ["artifactregistry.tags.get"]}}
        assert found.call("POST", f"/iam.googleapis.com/v1/projects/{project}/roles", owner, json=role).ok
        kept = f"/secretmanager.googleapis.com/v1/projects/{project}/secrets?secretId=kept"
        assert found.call("POST", kept, owner, json={"replication": {"automatic": {}}}).ok
        storage = "/storage.googleapis.com"
        bucket = found.call(
            "POST", f"{storage}/storage/v1/b?project={project}", owner, json={"name": f"{project}-bucket"}
        )
        assert bucket.ok, bucket.text
        thing = f"{storage}/upload/storage/v1/b/{project}-bucket/o?uploadType=media&name=thing.txt"
        assert found.call("POST", thing, owner, data=b"thing").ok
        yield found
    finally:
        starter.stop(home)


def name_of(value: object) -> str:
    return f"{value.id} {value.path}" if isinstance(value, Method) else ""


# --- Google's APIs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("api", "method"), ROUTES, ids=name_of)
def test_nobody_gets_in_without_a_credential(target: Target, api: Api, method: Method) -> None:
    answer = target.ask(api, method)
    if method.id in OPEN:
        # What they answer without a proof of who is asking says nothing of anybody.
        assert answer.status_code == 400
        assert "error" in answer.json()
        return
    assert answer.status_code == 401, answer.text
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize("kind", BAD)
def test_nobody_gets_in_with_a_bad_credential(target: Target, kind: str) -> None:
    for api, method in ROUTES:
        answer = target.ask(api, method, credentials(target, kind, f"https://{api.service}/"))
        assert answer.status_code == 401, f"{method.id}: {answer.status_code} {answer.text[:200]}"


def test_the_good_credential_of_each_kind_does_get_in(target: Target) -> None:
    """Else the test above would pass for a sandbox that refuses everything."""
    key = json.loads((target.home / "learner-key.json").read_text())
    api, method = next(one for one in ROUTES if one[1].id == "artifactregistry.projects.locations.repositories.get")
    for token in (target.owner, forge(key, f"https://{api.service}/")):
        assert target.ask(api, method, token).status_code == 200


@pytest.mark.parametrize(("api", "method"), ROUTES, ids=name_of)
def test_another_projects_owner_gets_nothing(target: Target, api: Api, method: Method) -> None:
    answer = target.ask(api, method, target.stranger)
    if method.id in OPEN | SIGNED_IN.keys():
        assert answer.status_code in (200, 400, 404)
        assert target.project not in answer.text
        assert seed.BILLING_ACCOUNT not in answer.text
    elif method.id.endswith(TESTS):
        assert answer.status_code == 200
        assert answer.json() == {}
    elif (method.id, method.verb) == BY_ADDRESS:
        assert answer.status_code == 404
    else:
        assert answer.status_code == 403, answer.text
        if method.id.startswith("storage.xml."):
            assert "<Code>AccessDenied</Code>" in answer.text
        else:
            assert answer.json()["error"]["status"] == "PERMISSION_DENIED"


def test_a_stranger_holds_none_of_the_permissions_that_he_asks_for(target: Target) -> None:
    for api, method in ROUTES:
        if method.id.endswith(TESTS):
            wanted = {"permissions": ["artifactregistry.repositories.get", "resourcemanager.projects.get"]}
            path = f"/{api.service}{target.path(method)}"
            assert target.call("POST", path, target.stranger, json=wanted).json() == {}, method.id
            # There is no service on Cloud Run here, and of what is not there nobody holds anything.
            if not method.id.startswith("run."):
                assert target.call("POST", path, target.owner, json=wanted).json() != {}, method.id


@pytest.mark.parametrize("kind", ["", *BAD])
def test_the_edge_refuses_as_the_port_does(target: Target, kind: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"https": f"http://127.0.0.1:{target.edge}"}
        session.verify = target.ca
        for api in APIS:
            method = api.methods[0]
            if method.id in OPEN:
                continue
            token = credentials(target, kind, f"https://{api.service}/") if kind else ""
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            url = f"https://{host_of(api, method)}{target.path(method)}"
            assert session.request(method.verb, url, headers=headers, timeout=30).status_code == 401, url


def test_every_list_names_routes_that_exist() -> None:
    named = OPEN | SIGNED_IN.keys() | BODIES.keys() | QUERIES.keys() | {BY_ADDRESS[0]}
    assert named <= {method.id for _, method in ROUTES}
    assert {method.id for _, method in ROUTES if method.open_to_all} == OPEN


# --- the registry -----------------------------------------------------------------------------------------------------

KINDS = {
    "begin": "blobs/uploads/",
    "blobs": f"blobs/{CONFIG_DIGEST}",
    "manifests": "manifests/v1",
    "referrers": f"referrers/{DIGEST}",
    "tags": "tags/list",
}
OPERATIONS = [(kind, verb) for kind, verbs in router._VERBS.items() for verb in verbs]


def ask(target: Target, repository: str, kind: str, verb: str, token: str = "") -> requests.Response:
    path = f"/v2/{HOST}/{target.project}/{repository}/app/{KINDS[kind]}"
    more = {"data": CONTENT, "headers": {"Content-Type": MANIFEST}} if verb == "PUT" else {}
    return target.call(verb, path, token, **more)


@pytest.mark.parametrize(("kind", "verb"), OPERATIONS)
def test_the_registry_refuses_bad_credentials_and_strangers(target: Target, kind: str, verb: str) -> None:
    for repository in ("private", "public"):
        answer = ask(target, repository, kind, verb)
        if repository == "public" and kind != "begin" and verb in ("GET", "HEAD"):
            assert answer.status_code in (200, 302)
        else:
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith(f'Bearer realm="{target.base}/v2/token"')
        for bad in BAD:
            answer = ask(target, repository, kind, verb, credentials(target, bad, f"https://{HOST}/"))
            assert answer.status_code == 401, f"{bad}: {answer.text}"
    answer = ask(target, "private", kind, verb, target.stranger)
    assert answer.status_code == 403, answer.text
    assert answer.json()["errors"][0]["code"] == "DENIED" if verb != "HEAD" else True


def test_the_tables_name_the_same_kinds() -> None:
    assert KINDS.keys() == router._VERBS.keys()


def anonymous_token(target: Target, repository: str, actions: str) -> requests.Response:
    scope = f"repository:{HOST}/{target.project}/{repository}/app:{actions}"
    return target.call("GET", "/v2/token", params={"service": "localhost", "scope": scope})


@pytest.mark.parametrize("actions", ["pull", "push", "pull,push", "delete", "*"])
def test_the_token_endpoint_gives_anybody_public_pulls_only(target: Target, actions: str) -> None:
    assert anonymous_token(target, "private", actions).status_code == 403
    answer = anonymous_token(target, "public", actions)
    assert answer.status_code == (200 if actions in ("pull", "*") else 403)
    if answer.status_code == 200:
        token = answer.json()["token"]
        for kind, verb in OPERATIONS:
            allowed = kind in ("blobs", "manifests", "referrers", "tags") and verb in ("GET", "HEAD")
            status = ask(target, "public", kind, verb, token).status_code
            assert (status in (200, 302)) is allowed, f"{kind} {verb}: {status}"
            assert ask(target, "private", kind, verb, token).status_code in (401, 403)


@pytest.mark.parametrize("bad", BAD)
def test_the_token_endpoint_refuses_bad_credentials(target: Target, bad: str) -> None:
    token = credentials(target, bad, f"https://{HOST}/")
    scope = f"repository:{HOST}/{target.project}/public/app:pull"
    assert target.call("GET", "/v2/token", token, params={"scope": scope}).status_code == 401
    assert target.call("GET", "/v2/token", auth=("oauth2accesstoken", token)).status_code == 401
    form = {"grant_type": "password", "username": "_token", "password": token, "service": "x"}
    assert target.call("POST", "/v2/token", data=form).status_code == 401


def test_signed_in_to_nothing_one_sees_nothing(target: Target) -> None:
    assert target.call("GET", "/v2/").status_code == 401
    assert target.call("GET", "/v2/_catalog").status_code == 401
    assert target.call("GET", "/v2/", target.stranger).content == b""
    assert target.call("GET", "/v2/_catalog", target.stranger).json() == {"repositories": []}


# --- the admin surface, and what is at neither door -------------------------------------------------------------------


def admin_routes() -> list[tuple[str, str]]:
    """The verbs and paths of the admin surface, read from its source."""
    tree = ast.parse(inspect.getsource(surface.answer))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.MatchSequence):
            values = [part.value.value for part in node.patterns if isinstance(part, ast.MatchValue)]  # type: ignore[attr-defined]
            if len(values) == 2:
                found.append((str(values[0]), str(values[1])))
    return found


def test_the_admin_surface_asks_for_its_own_token(target: Target) -> None:
    routes = admin_routes()
    assert ("GET", "status") in routes
    assert len(routes) >= 4
    for verb, path in [*routes, ("GET", "none"), ("POST", "")]:
        for token in ("", target.owner, target.stranger, "garbage"):
            answer = target.call(verb, f"/_sandbox/{path}", token, **({"json": {}} if verb == "POST" else {}))
            assert answer.status_code == 401, f"{verb} {path}: {answer.text}"
    # Behind a Google host's name there is no such surface.
    own = (target.home / "admin-token").read_text().strip()
    assert target.call("GET", "/iam.googleapis.com/_sandbox/status", own).status_code in (401, 501)
    assert target.call("GET", "/_sandbox/status", own).status_code == 200


def test_an_unknown_host_is_turned_away(target: Target) -> None:
    for host in ("evil.example", "localhost.evil.example", "169.254.169.254"):
        assert target.call("GET", "/", headers={"Host": host}).status_code == 421
    assert target.call("GET", "/").status_code == 200


# --- a project that is being deleted ----------------------------------------------------------------------------------


def test_a_project_that_is_being_deleted_refuses_all_but_looking_at_it(target: Target) -> None:
    going = f"{target.project[:20]}-going"
    manager = f"/cloudresourcemanager.googleapis.com/v1/projects/{going}"
    image = f"/v2/{HOST}/{going}/private/app/tags/list"
    # Nothing is in it; the rights are there.
    assert target.call("GET", image, target.owner).status_code == 404
    assert target.call("DELETE", manager, target.owner).status_code == 200
    asked = 0
    for api, method in ROUTES:
        if "{project}" not in method.path or api.title in ("Cloud Resource Manager API", "Cloud Billing API"):
            continue
        asked += 1
        answer = target.ask(api, method, target.owner, going)
        assert answer.status_code == 403, f"{method.id}: {answer.text}"
        assert "has been deleted" in answer.json()["error"]["message"]
        assert answer.json()["error"]["details"][0]["reason"] == "CONSUMER_INVALID"
    assert asked > 40
    assert target.call("GET", image, target.owner).status_code == 403
    assert target.call("GET", manager, target.owner).json()["lifecycleState"] == "DELETE_REQUESTED"
    assert target.call("POST", f"{manager}:undelete", target.owner, json={}).status_code == 200
    assert target.call("GET", image, target.owner).status_code == 404
