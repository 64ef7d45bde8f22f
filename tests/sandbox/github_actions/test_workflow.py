"""Workflow files: what is read, what is refused by name, what begins one, and what an expression is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.github_actions import actions, claims, expressions, workflow
from sandbox.github_actions.expressions import Facts
from sandbox.github_actions.patterns import Filter, matches, problem

GOOD = """
name: Ship
on:
  push:
    branches: [main]
  pull_request:
permissions:
  contents: read
  id-token: write
env:
  REGION: us-central1
jobs:
  build:
    runs-on: ubuntu-latest
    outputs:
      digest: ${{ steps.push.outputs.digest }}
    steps:
      - uses: actions/checkout@v4
      - id: auth
        uses: google-github-actions/auth@v2
        with:
          workload_identity_provider: projects/1/locations/global/workloadIdentityPools/github/providers/actions
          service_account: ci@project.iam.gserviceaccount.com
      - id: push
        name: Push
        run: |
          echo "digest=sha256:0" >> "$GITHUB_OUTPUT"
  deploy:
    needs: build
    runs-on: ubuntu-22.04
    permissions: {}
    steps:
      - run: echo ${{ needs.build.outputs.digest }}
        if: github.ref == 'refs/heads/main'
"""


def one_step(**changes: Any) -> str:
    step = {"run": "true", **changes}
    return f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - {step!r}\n"


def test_the_workbook_s_own_workflow_of_a_deployment_is_read() -> None:
    text = (Path(__file__).parents[3] / ".github" / "workflows" / "deploy.yml").read_text(encoding="utf-8")
    (job,) = workflow.read(text, ".github/workflows/deploy.yml").jobs
    used = [step.uses.partition("@")[0] for step in job.steps if step.uses]
    assert used == [actions.CHECKOUT, actions.AUTH, actions.SETUP, actions.LOGIN]


def test_a_workflow_is_read() -> None:
    found = workflow.read(GOOD, ".github/workflows/ship.yml")
    assert (found.name, sorted(found.events), found.env) == (
        "Ship",
        ["pull_request", "push"],
        {"REGION": "us-central1"},
    )
    build, deploy = found.jobs
    assert (build.id_token, deploy.id_token) == (True, False)
    assert [step.name for step in build.steps] == [
        "Run actions/checkout@v4",
        "Run google-github-actions/auth@v2",
        "Push",
    ]
    assert deploy.steps[0].name == "Run echo ${{ needs.build.outputs.digest }}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a workflow says what begins it"),
        ("on: push", "a workflow has at least one job"),
        ("- a", "a mapping is expected"),
        ("on: [push\n", "this is no YAML"),
        ("a: &x 1\nb: *x", "aliases"),
        (GOOD.replace("on:\n", "on:\n  schedule: []\n"), "schedule is not something"),
        (GOOD.replace("branches: [main]", "branches: ['[']"), "'[' is no pattern"),
        (GOOD.replace("branches: [main]", "branches: [a]\n    branches-ignore: [b]"), "not used together"),
        (GOOD.replace("runs-on: ubuntu-latest", "runs-on: windows-latest"), "windows-latest is no runner"),
        (GOOD.replace("    needs: build\n", "    needs: test\n"), "there is no job test"),
        (GOOD.replace("  build:\n", "  build:\n    needs: deploy\n"), "in a circle"),
        (GOOD.replace("  build:\n", "  build:\n    strategy: {}\n"), "jobs.build: strategy is not something"),
        (GOOD.replace("  build:\n", "  build:\n    container: x\n"), "jobs.build: container is not something"),
        (GOOD.replace("  build:\n", "  build:\n    services: {}\n"), "jobs.build: services is not something"),
        (GOOD.replace("actions/checkout@v4", "docker/bake-action@v6"), "uses: docker/bake-action@v6 is an action"),
        (GOOD.replace("actions/checkout@v4", "./local"), "uses: ./local is an action"),
        (GOOD.replace("actions/checkout@v4", "docker://alpine"), "uses: docker://alpine is an action"),
        (GOOD.replace("actions/checkout@v4", "actions/checkout"), "names no version"),
        (GOOD.replace("actions/checkout@v4", "actions/checkout@main"), "names no version"),
        (GOOD.replace("service_account:", "credentials_json:"), "credentials_json, which the workbook's sandbox"),
        (GOOD.replace("service_account:", "universe:"), "takes universe: 'googleapis.com' here"),
        (
            GOOD.replace("          workload_identity_provider", "          project_id"),
            "needs workload_identity_provider",
        ),
        (GOOD.replace("REGION:", "GITHUB_REGION:"), "GITHUB_REGION is no name"),
        (GOOD.replace("id: push", "id: auth"), "the id auth is used twice"),
        (one_step(run="${{ secrets.KEY }}"), "the context secrets is not one"),
        (one_step(run="${{ matrix.KEY }}"), "the context matrix is not one"),
        (GOOD.replace("env:\n", "concurrency: {cancel-in-progress: true}\nenv:\n", 1), "cancel-in-progress is not"),
        (GOOD.replace("on:\n", "on:\n  workflow_dispatch: {branches: [a]}\n"), "branches is not something"),
        (GOOD.replace("on:\n", "on:\n  workflow_dispatch: {inputs: {a: {type: number}}}\n"), "of the type number"),
        (one_step(run="${{ github.token }}"), "github.token is not something"),
        (one_step(run="${{ toJSON(github) }}"), "github is not something"),
        (one_step(run="${{ hashFiles('x') }}"), "the function hashFiles()"),
        (one_step(run="${{ github.ref"), "${{ without }}"),
        (one_step(run="${{ github.ref == }}"), "unexpected its end"),
        (one_step(**{"if": "github.ref ="}), "unexpected '='"),
        (one_step(uses="actions/checkout@v4"), "a step has either run or uses"),
        (one_step(shell="pwsh"), "pwsh is no shell"),  # noqa: S604 - a key of YAML
        (one_step(**{"timeout-minutes": 0}), "a number from 1 to 360"),
        (one_step(background=True), "background is not something"),
    ],
    ids=lambda value: value[:48] if isinstance(value, str) and "\n" not in value else "",
)
def test_what_is_refused_before_anything_runs(text: str, words: str) -> None:
    with pytest.raises(workflow.Unsupported) as caught:
        workflow.read(text, ".github/workflows/x.yml")
    assert words in str(caught.value)
    assert all(one.startswith(".github/workflows/x.yml") for one in caught.value.problems)


def test_inputs_and_one_run_at_a_time() -> None:
    inputs = "{to: {required: true, type: choice, options: [a, b]}, dry: {type: boolean}}"
    more = f"on:\n  workflow_dispatch: {{inputs: {inputs}}}\n"
    found = workflow.read(GOOD.replace("on:\n", more).replace("env:\n", "concurrency: deploy\nenv:\n", 1), "x.yml")
    assert found.inputs == {
        "to": workflow.Input(True, "", ("a", "b")),
        "dry": workflow.Input(False, "", ("true", "false")),
    }
    assert "workflow_dispatch" in found.events


def test_everything_that_is_wrong_is_said_at_once() -> None:
    text = GOOD.replace("actions/checkout@v4", "some/action@v1").replace("ubuntu-22.04", "macos-latest")
    with pytest.raises(workflow.Unsupported) as caught:
        workflow.read(text, "x.yml")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("patterns", "name", "expected"),
    [
        (["main"], "main", True),
        (["main"], "main2", False),
        (["*"], "feature/a", False),
        (["**"], "feature/a", True),
        (["releases/**"], "releases/v1/x", True),
        (["releases/*"], "releases/v1/x", False),
        (["v[12].[0-9]+.[0-9]+"], "v1.10.1", True),
        (["v[12].[0-9]+.[0-9]+"], "v3.0.0", False),
        (["*.jsx?"], "page.js", True),
        (["*.jsx?"], "page.jsx", True),
        (["**.js"], "src/js/app.js", True),
        (["**/README.md"], "README.md", True),
        (["**/README.md"], "js/README.md", True),
        (["docs/**/*.md"], "docs/hello.md", True),
        (["**/*-post.md"], "my-post.md", True),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README.md", "README*"], "README.md", True),
    ],
)
def test_patterns_of_githubs_cheat_sheet(patterns: list[str], name: str, expected: bool) -> None:
    assert matches(patterns, name) is expected


@pytest.mark.parametrize(
    ("lists", "ref", "changed", "kind", "expected"),
    [
        ({}, "refs/heads/x", [], "", True),
        ({"branches": ("main",)}, "refs/heads/main", [], "", True),
        ({"branches": ("main",)}, "refs/tags/v1", [], "", False),
        ({"tags": ("v*",)}, "refs/tags/v1", ["a"], "", True),
        ({"tags": ("v*",)}, "refs/heads/main", [], "", False),
        ({"branches-ignore": ("wip/**",)}, "refs/heads/wip/a", [], "", False),
        ({"branches-ignore": ("wip/**",)}, "refs/heads/main", [], "", True),
        ({"paths": ("src/**",)}, "refs/heads/main", ["docs/a"], "", False),
        ({"paths": ("src/**",)}, "refs/heads/main", ["docs/a", "src/b"], "", True),
        ({"paths": ("src/**",)}, "refs/tags/v1", ["docs/a"], "", True),
        ({"paths-ignore": ("docs/**",)}, "refs/heads/main", ["docs/a"], "", False),
        ({"paths-ignore": ("docs/**",)}, "refs/heads/main", ["docs/a", "b"], "", True),
        ({}, "refs/heads/main", [], "opened", True),
        ({}, "refs/heads/main", [], "closed", False),
        ({"types": ("closed",)}, "refs/heads/main", [], "closed", True),
    ],
)
def test_what_begins_a_workflow(lists: Any, ref: str, changed: list[str], kind: str, expected: bool) -> None:
    assert Filter(lists).matches(ref, changed, kind) is expected


FACTS = Facts(
    {
        "github": {"ref": "refs/heads/main", "event_name": "push", "event": {"labels": ["a", "b"]}},
        "steps": {"a": {"outputs": {"x": "1"}, "conclusion": "success"}},
        "env": {"EMPTY": ""},
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ github.ref }}", "refs/heads/main"),
        ("a ${{ github.event_name }} b ${{ github.gone }}!", "a push b !"),
        ("${{ github['ref'] }}", "refs/heads/main"),
        ("${{ github.event.labels[1] }}", "b"),
        ("${{ steps.a.outputs.x == 1 }}", "true"),
        ("${{ 'PUSH' == github.event_name }}", "true"),
        ("${{ github.ref != 'x' && 'yes' || 'no' }}", "yes"),
        ("${{ env.EMPTY || 'default' }}", "default"),
        ("${{ !env.EMPTY }}", "true"),
        ("${{ contains(github.ref, 'MAIN') }}", "true"),
        ("${{ contains(github.event.labels, 'b') }}", "true"),
        ("${{ startsWith(github.ref, 'refs/heads/') }}", "true"),
        ("${{ endsWith(github.ref, 'dev') }}", "false"),
        ("${{ format('{0}-{1}{{}}', 'a', 2) }}", "a-2{}"),
        ("${{ join(github.event.labels, '+') }}", "a+b"),
        ("${{ fromJSON('[1]')[0] }}", "1"),
        ("${{ 'it''s' }}", "it's"),
        ("${{ 0xff }}", "255"),
        ("${{ 1 < 2 && 2 >= 2 }}", "true"),
        ("${{ null == 0 }}", "true"),
        ("${{ (1 == 2) || true }}", "true"),
    ],
)
def test_an_expression(text: str, expected: str) -> None:
    expressions.check(text)
    assert expressions.fill(text, FACTS) == expected


@pytest.mark.parametrize(
    ("text", "well", "badly"),
    [
        ("", True, False),
        ("github.event_name == 'push'", True, False),
        ("${{ github.event_name == 'push' }}", True, False),
        ("always()", True, True),
        ("failure()", False, True),
        ("success() || failure()", True, True),
        ("failure() && github.event_name == 'push'", False, True),
        ("github.event_name == 'x'", False, False),
    ],
)
def test_a_condition(text: str, well: bool, badly: bool) -> None:
    assert expressions.holds(text, FACTS) is well
    assert expressions.holds(text, Facts(FACTS.contexts, failed=True)) is badly


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    try:
        expressions.check_condition(text)
    except expressions.BadExpression:
        return
    expressions.holds(text, FACTS)


@given(st.text(alphabet="ab*?+[]!/\\.-", max_size=12), st.text(alphabet="ab/.-", max_size=12))
def test_any_pattern_is_one_or_is_refused(pattern: str, name: str) -> None:
    if not problem(pattern):
        assert matches([pattern], name) in (True, False)


def test_the_inputs_have_their_defaults() -> None:
    given_inputs = actions.inputs("google-github-actions/auth@v2", {"workload_identity_provider": "x"})
    assert given_inputs["create_credentials_file"] == "true"
    assert given_inputs["token_format"] == ""


RUN = {
    "id": 7,
    "number": 3,
    "name": "Ship",
    "repository": "ana/models",
    "repository_id": 1,
    "visibility": "public",
    "ref": "refs/heads/main",
    "sha": "a" * 40,
    "path": ".github/workflows/ship.yml",
    "event": "push",
    "actor": "ben",
    "head_ref": "",
    "base_ref": "",
}


@pytest.mark.parametrize(
    ("changes", "environment", "expected"),
    [
        ({}, "", "repo:ana/models:ref:refs/heads/main"),
        ({"ref": "refs/tags/v1"}, "", "repo:ana/models:ref:refs/tags/v1"),
        ({"event": "pull_request", "ref": "refs/pull/1/merge"}, "", "repo:ana/models:pull_request"),
        ({}, "production", "repo:ana/models:environment:production"),
    ],
)
def test_the_subject_as_github_documents_it(changes: dict[str, str], environment: str, expected: str) -> None:
    assert claims.subject(RUN | changes, environment) == expected


def test_the_claims() -> None:
    found = claims.of(RUN, "", "", 1000)
    assert found["aud"] == "https://github.com/ana"
    assert found["workflow_ref"] == "ana/models/.github/workflows/ship.yml@refs/heads/main"
    assert (found["iat"], found["nbf"], found["exp"]) == (1000, 400, 1300)
    assert found["ref_type"] == "branch"
    assert "environment" not in found
    assert claims.of(RUN, "x", "prod", 0)["environment"] == "prod"
