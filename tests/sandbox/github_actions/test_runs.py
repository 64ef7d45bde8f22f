"""A push begins a workflow, which runs in a container and signs in to Google without a key: with the real git."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterator

import jwt
import pytest
import requests
from google.auth.transport.requests import AuthorizedSession

from cli.world.starter import World
from tests.sandbox.conftest import account, ask, done, grant, learner_with, project, projects_url
from tests.sandbox.git_hosting import Clone, Host
from tests.sandbox.github_actions.runs import PATH, log_of, run_of, workflow

IAM = "https://iam.googleapis.com/v1"
GITHUB = "https://token.actions.githubusercontent.com"
REJECTED = "The given credential is rejected by the attribute condition."
REFUSED = f'{{"error":"unauthorized_client","error_description":"{REJECTED}"}}'
Cloner = Callable[..., Clone]


@pytest.fixture
def learner(in_world: object) -> Iterator[AuthorizedSession]:
    """The learner's session, in a project that has the APIs."""
    with learner_with("iam", "iamcredentials", "cloudresourcemanager", "sts") as session:
        yield session


def trust(learner: AuthorizedSession, repository: str) -> str:
    """The resource name of a provider that lets one repository in."""
    base = f"{IAM}/projects/{project()}/locations/global/workloadIdentityPools"
    begun = ask(learner, "POST", f"{base}?workloadIdentityPoolId=pool-{secrets.token_hex(4)}", {})
    pool = done(learner, "iam.googleapis.com", begun)["response"]["name"]
    body = {
        "attributeMapping": {"google.subject": "assertion.sub", "attribute.repository": "assertion.repository"},
        "attributeCondition": f"assertion.repository == '{repository}'",
        "oidc": {"issuerUri": GITHUB},
    }
    ask(learner, "POST", f"{IAM}/{pool}/providers?workloadIdentityPoolProviderId=actions", body)
    return f"{pool}/providers/actions"


def everybody_of(provider: str, repository: str) -> str:
    pool = provider.partition("/providers/")[0]
    return f"principalSet://iam.googleapis.com/{pool}/attribute.repository/{repository}"


def sign_in(provider: str, email: str = "", more: str = "") -> str:
    inputs = f"workload_identity_provider: {provider}" + (f", service_account: {email}" if email else "") + more
    return f"{{id: auth, uses: google-github-actions/auth@v2, with: {{{inputs}}}}}"


def push(host: Host, clone: Cloner, text: str, repository: str = "", **more: str) -> tuple[str, str]:
    """Push a workflow to a new repository, or to this one; its name and the commit."""
    repository = repository or host.repository()
    working = clone(repository)
    sha = working.commit("Ship", **{PATH: text, **more})
    working.git("push", "--quiet", "origin", "main")
    return repository, sha


def test_a_workflow_that_is_refused_says_everything_and_runs_nothing(host: Host, clone: Cloner) -> None:
    text = workflow("{uses: docker/bake-action@v6}", "{run: 'echo ${{ secrets.KEY }}'}")
    repository, sha = push(host, clone, text)
    run = run_of(host, repository, sha)
    assert (run["conclusion"], run["name"]) == ("startup_failure", PATH)
    problems = host.api("GET", f"/repos/{repository}/actions/runs/{run['id']}")["problems"]
    assert [PATH in one for one in problems] == [True, True]
    assert "docker/bake-action@v6" in problems[0]
    assert "the context secrets" in problems[1]
    assert host.api("GET", f"/repos/{repository}/actions/runs/{run['id']}/jobs")["total_count"] == 0


@pytest.mark.docker
@pytest.mark.usefixtures("python_image")
class TestRuns:
    """With an engine."""

    def test_steps_share_a_machine_and_hand_on_what_they_know(self, host: Host, clone: Cloner) -> None:
        text = """
name: Chain
on: {push: {branches: [main]}, pull_request: {}}
env: {GREETING: hello}
jobs:
  first:
    runs-on: ubuntu-latest
    outputs: {word: "${{ steps.say.outputs.word }}"}
    steps:
      - uses: actions/checkout@v4
      - id: say
        run: |
          test "$(git rev-parse HEAD 2>/dev/null || cat .git/HEAD)" = "$GITHUB_SHA"
          cat greeting.txt
          echo "word=from-$GREETING" >> "$GITHUB_OUTPUT"
          printf 'LONG<<END\\na\\nb\\nEND\\n' >> "$GITHUB_ENV"
          echo "::add-mask::hunter2"
      - run: echo "the secret is hunter2 and $LONG"
      - name: fails
        id: bad
        continue-on-error: true
        run: exit 3
      - run: "true"
        if: steps.bad.outcome == 'failure'
      - run: echo "token ${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-none}"
  second:
    needs: first
    runs-on: ubuntu-latest
    steps:
      - run: echo "got ${{ needs.first.outputs.word }} on ${{ github.ref_name }} by $GITHUB_ACTOR"
      - run: exit 1
      - run: echo never
      - run: echo cleaned
        if: failure()
  third:
    needs: second
    runs-on: ubuntu-latest
    steps:
      - run: echo never
"""
        repository, sha = push(host, clone, text, **{"greeting.txt": "from the repository\n"})
        run = run_of(host, repository, sha)
        log = log_of(host, run)
        assert run["conclusion"] == "failure", log
        assert "from the repository" in log
        assert "the secret is *** and a\nb" in log
        assert "Error: Process completed with exit code 3." in log
        assert "token none" in log
        assert "got from-hello on main by example.com" in log
        assert "cleaned" in log
        assert "\nnever" not in log
        jobs = host.api("GET", f"/repos/{repository}/actions/runs/{run['id']}/jobs")["jobs"]
        assert [job["conclusion"] for job in jobs] == ["success", "failure", "skipped"]
        assert [step["conclusion"] for step in jobs[1]["steps"]] == ["success", "failure", "skipped", "success"]
        checks = host.api("GET", f"/repos/{repository}/commits/main/check-runs")["check_runs"]
        assert {check["name"]: check["conclusion"] for check in checks if check["app"]["slug"] == "github-actions"} == {
            "first": "success",
            "second": "failure",
            "third": "skipped",
        }

    @pytest.mark.gcloud
    @pytest.mark.usefixtures("gcloud")
    def test_the_repository_signs_in_and_gcloud_with_it(
        self, learner: AuthorizedSession, host: Host, clone: Cloner
    ) -> None:
        repository = host.repository()
        provider, email = trust(learner, repository), account(learner, "roles/viewer")
        resource = f"{IAM}/projects/{project()}/serviceAccounts/{email}"
        grant(learner, resource, "roles/iam.workloadIdentityUser", everybody_of(provider, repository))
        login = "registry: us-central1-docker.pkg.dev, username: oauth2accesstoken"
        password = "password: '${{ steps.auth.outputs.access_token }}'"
        text = workflow(
            sign_in(provider, email, ", token_format: access_token"),
            "{uses: google-github-actions/setup-gcloud@v2}",
            '{run: \'gcloud projects describe "$GCLOUD_PROJECT" --format="value(projectId)"; gcloud auth list\'}',
            f"{{uses: docker/login-action@v3, with: {{{login}, {password}}}}}",
            "{run: 'cat ~/.docker/config.json'}",
            f"{{uses: docker/login-action@v3, continue-on-error: true, with: {{{login}}}}}",
            "{run: 'cat \"$GOOGLE_APPLICATION_CREDENTIALS\"'}",
        )
        _, sha = push(host, clone, text, repository)
        run = run_of(host, repository, sha)
        log = log_of(host, run)
        assert run["conclusion"] == "success", log
        assert "Created credentials file at " in log
        assert project() in log
        assert email in log
        assert "ya29." not in log
        assert '"type": "external_account"' in log
        assert "Logging into us-central1-docker.pkg.dev...\nLogin Succeeded!" in log
        assert '"auths": {' in log
        assert "Error: Password required" in log

    def test_a_token_says_what_ran_and_ends_with_it(
        self, learner: AuthorizedSession, host: Host, clone: Cloner
    ) -> None:
        """Direct access, without an account; the token's claims as GitHub documents them."""
        repository = host.repository()
        provider = trust(learner, repository)
        grant(learner, projects_url(), "roles/viewer", everybody_of(provider, repository))
        body = workflow(
            sign_in(provider),
            "{run: 'URL=$ACTIONS_ID_TOKEN_REQUEST_URL TOKEN=$ACTIONS_ID_TOKEN_REQUEST_TOKEN python3 ask.py'}",
        ).replace("    steps:\n", "    steps:\n      - {uses: actions/checkout@v4}\n")
        program = (
            "import base64, os, urllib.request\n"
            "url, token = os.environ['URL'] + '&audience=me', os.environ['TOKEN']\n"
            "asked = urllib.request.Request(url, headers={'Authorization': 'Bearer ' + token})\n"
            "answer = urllib.request.urlopen(asked).read()\n"
            "print('answer', base64.b64encode(answer).decode())\n"
            "print('bearer', base64.b64encode(token.encode()).decode(), url)\n"
        )
        _, sha = push(host, clone, body, repository, **{"ask.py": program})
        run = run_of(host, repository, sha)
        log = log_of(host, run)
        assert run["conclusion"] == "success", log
        said = [line.split() for line in log.splitlines() if line.startswith(("answer", "bearer"))]
        words = {line[0]: line[1:] for line in said}
        token = json.loads(base64.b64decode(words["answer"][0]))["value"]
        with requests.Session() as session:
            session.trust_env = False
            url = f"{host.world.url}/token.actions.githubusercontent.com/.well-known/jwks"
            keys = session.get(url, timeout=30).json()
            # The job has ended, and its bearer with it.
            late = session.get(
                words["bearer"][1],
                headers={"Authorization": f"Bearer {base64.b64decode(words['bearer'][0]).decode()}"},
                timeout=30,
            )
        assert late.status_code == 401
        key = next(one for one in keys["keys"] if one["kid"] == jwt.get_unverified_header(token)["kid"])
        claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["RS256"], audience="me", issuer=GITHUB)
        assert claims["sub"] == f"repo:{repository}:ref:refs/heads/main"
        assert (claims["repository"], claims["sha"], claims["actor"]) == (repository, sha, "example.com")
        assert claims["workflow_ref"] == f"{repository}/{PATH}@refs/heads/main"
        assert (claims["run_id"], claims["event_name"]) == (str(run["id"]), "push")

    def test_another_repository_is_refused_in_googles_words(
        self, learner: AuthorizedSession, host: Host, clone: Cloner
    ) -> None:
        provider = trust(learner, "ana/models")
        repository, sha = push(host, clone, workflow(sign_in(provider)))
        run = run_of(host, repository, sha)
        log = log_of(host, run)
        assert run["conclusion"] == "failure", log
        said = f"failed to generate Google Cloud federated token for //iam.googleapis.com/{provider}: (400) {REFUSED}"
        assert f"Error: google-github-actions/auth failed with: {said}" in log

    def test_without_the_permission_there_is_no_token(
        self, learner: AuthorizedSession, host: Host, clone: Cloner
    ) -> None:
        repository = host.repository()
        provider = trust(learner, repository)
        _, sha = push(host, clone, workflow(sign_in(provider), may=""), repository)
        log = log_of(host, run_of(host, repository, sha))
        assert "GitHub Actions did not inject $ACTIONS_ID_TOKEN_REQUEST_TOKEN" in log

    def test_a_forks_pull_request_gets_no_token(self, learner: AuthorizedSession, host: Host, clone: Cloner) -> None:
        """Not for the repository that it is opened at; and as itself the fork is another repository."""
        repository = host.repository()
        provider = trust(learner, repository)
        text = workflow(sign_in(provider), on="[push, pull_request]")
        _, sha = push(host, clone, text, repository)
        assert run_of(host, repository, sha)["conclusion"] == "success"
        fork = host.api("POST", f"/repos/{repository}/forks", {}, login="mallory", status=202)["full_name"]
        working = clone(fork, login="mallory")
        working.git("fetch", "--quiet", "origin", "main")
        working.git("checkout", "--quiet", "-B", "main", "FETCH_HEAD")
        sha = working.commit("Let me in")
        working.git("push", "--quiet", "origin", "main")
        own = run_of(host, fork, sha, login="mallory")
        assert REJECTED in log_of(host, own, login="mallory")
        pull = {"title": "Let me in", "head": "mallory:main", "base": "main"}
        host.api("POST", f"/repos/{repository}/pulls", pull, login="mallory", status=201)
        asked = run_of(host, repository, sha)
        assert (asked["event"], asked["conclusion"]) == ("pull_request", "failure")
        assert "or this job is being run from a fork" in log_of(host, asked)

    def test_by_hand_with_inputs_and_variables(self, host: Host, clone: Cloner) -> None:
        text = """
on: {workflow_dispatch: {inputs: {to: {required: true}, dry: {type: boolean, default: true}}}}
concurrency: {group: deploy, cancel-in-progress: false}
env: {REGION: "${{ vars.REGION }}"}
jobs:
  deploy:
    if: vars.REGION != ''
    runs-on: ubuntu-24.04
    steps:
      - run: echo "to $TO in $REGION, dry ${{ inputs.dry }}"
        env: {TO: "${{ inputs.to }}"}
"""
        repository, sha = push(host, clone, text)
        base = f"/repos/{repository}/actions"
        host.api("POST", f"{base}/variables", {"name": "region", "value": "us-central1"}, status=201)
        host.api("POST", f"{base}/variables", {"name": "REGION", "value": "x"}, status=409)
        host.api("PATCH", f"{base}/variables/REGION", {"value": "europe-west1"}, status=204)
        assert host.api("GET", f"{base}/variables")["variables"] == [{"name": "REGION", "value": "europe-west1"}]
        begin = f"{base}/workflows/ship.yml/dispatches"
        for body, status in (
            ({}, 422),
            ({"ref": "nowhere", "inputs": {"to": "a"}}, 422),
            ({"ref": "main"}, 422),
            ({"ref": "main", "inputs": {"to": "a", "more": "b"}}, 422),
            ({"ref": "main", "inputs": {"to": "a", "dry": "maybe"}}, 422),
        ):
            host.api("POST", begin, body, status=status)
        host.api("POST", f"{base}/workflows/other.yml/dispatches", {"ref": "main"}, status=404)
        host.api("POST", begin, {"ref": "main", "inputs": {"to": "a"}}, login="mallory", status=403)
        host.api("POST", begin, {"ref": "main", "inputs": {"to": "$(id)"}}, status=204)
        run = run_of(host, repository, sha)
        assert (run["event"], run["conclusion"]) == ("workflow_dispatch", "success"), log_of(host, run)
        assert "to $(id) in europe-west1, dry true" in log_of(host, run)
        host.api("DELETE", f"{base}/variables/REGION", status=204)
        host.api("GET", f"{base}/variables/REGION", status=404)


def test_who_may_not_see_a_repository_sees_no_runs(host: Host, clone: Cloner) -> None:
    repository = host.repository(private=True)
    push(host, clone, workflow("{uses: other/action@v1}"), repository)
    host.api("GET", f"/repos/{repository}/actions/runs", login="mallory", status=404)
    host.api("GET", f"/repos/{repository}/actions/runs", login="", status=404)
    host.api("GET", f"/repos/{repository}/actions/runs/99", status=404)
    host.api("GET", f"/repos/{repository}/actions/runs/99/jobs", status=404)
    host.api("POST", f"/repos/{repository}/actions/runs/1/rerun", {}, status=501)
    public = host.repository()
    host.api("GET", f"/repos/{public}/actions/variables", login="mallory", status=403)


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/1/idtoken", {}),
        ("/1/idtoken", {"Authorization": "Bearer nobody"}),
        ("/100/idtoken", {"Authorization": "Basic bm9ib2R5Og=="}),
        ("/", {"Authorization": "Bearer nobody"}),
    ],
)
def test_nobody_else_is_given_a_token(world: World, path: str, header: dict[str, str]) -> None:
    with requests.Session() as session:
        session.trust_env = False
        url = f"{world.url}/pipelines.actions.githubusercontent.com{path}"
        assert session.get(url, headers=header, timeout=30).status_code == 401


def test_the_issuers_documents(world: World) -> None:
    with requests.Session() as session:
        session.trust_env = False
        base = f"{world.url}/token.actions.githubusercontent.com"
        about = session.get(f"{base}/.well-known/openid-configuration", timeout=30).json()
        assert (about["issuer"], about["jwks_uri"]) == (GITHUB, f"{GITHUB}/.well-known/jwks")
        assert session.get(f"{base}/", timeout=30).status_code == 404
