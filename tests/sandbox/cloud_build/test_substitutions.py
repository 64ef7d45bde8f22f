"""What Cloud Build makes of a configuration: each row has its expectation and where that comes from.

Sources: D = https://cloud.google.com/build/docs/build-config/substitute-variable-values and …/use-bash-and-bindings-in-
substitutions; L = Google's open-source local builder, subst.go and validate.go (facts/artifact-registry.md section 5);
P = cloudbuild.proto; S = https://cloud.google.com/build/docs/configuring-builds/configure-build-step-order;
Q = quoted in public issues.
"""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.cloud_build import plan, substitutions, validation
from sandbox.cloud_build.substitutions import SubstitutionError
from sandbox.cloud_build.validation import BuildInvalid

VALUES = {
    "PROJECT_ID": "my-project",
    "PROJECT_NUMBER": "123456789012",
    "BUILD_ID": "b-1",
    "LOCATION": "us-central1",
    "SHORT_SHA": "",
    "COMMIT_SHA": "",
    "BRANCH_NAME": "feature/One",
    "TAG_NAME": "v1.2.3",
    "_REPO": "ml-images",
    "_EMPTY": "",
    "_A": "alpha",
    "_PATH": "a/b/c.tar.gz",
}

# (template, expansion, source) with the default options
PLAIN = [
    ("$PROJECT_ID", "my-project", "D"),
    ("${PROJECT_ID}", "my-project", "D"),
    ("$PROJECT_NUMBER", "123456789012", "D"),
    ("$BUILD_ID", "b-1", "D"),
    ("$LOCATION", "us-central1", "D"),
    ("a $PROJECT_ID b", "a my-project b", "D"),
    ("$PROJECT_ID/$_REPO", "my-project/ml-images", "D"),
    ("${PROJECT_ID}x", "my-projectx", "D"),
    ("$PROJECT_ID-x", "my-project-x", "L"),
    ("$PROJECT_ID.x", "my-project.x", "L"),
    ("$PROJECT_ID:x", "my-project:x", "L"),
    ("$_REPO", "ml-images", "D"),
    ("${_REPO}", "ml-images", "D"),
    ("${_REPO}$_A", "ml-imagesalpha", "L"),
    ("$SHORT_SHA", "", "D: without a trigger it is empty"),
    ("image:$SHORT_SHA", "image:", "D"),
    ("$COMMIT_SHA", "", "D"),
    ("$TAG_NAME", "v1.2.3", "D"),
    ("$REVISION_ID", "", "D"),
    ("$REPO_NAME", "", "D"),
    ("$REPO_FULL_NAME", "", "D"),
    ("$REF_NAME", "", "D"),
    ("$TRIGGER_NAME", "", "D"),
    ("$TRIGGER_BUILD_CONFIG_PATH", "", "D"),
    ("$SERVICE_ACCOUNT_EMAIL", "", "D"),
    ("$_EMPTY", "", "L"),
    ("x${_EMPTY}y", "xy", "L"),
    ("$$", "$", "D"),
    ("$$PROJECT_ID", "$PROJECT_ID", "D"),
    ("$$$PROJECT_ID", "$my-project", "L"),
    ("$$$$", "$$", "L"),
    ("$${PROJECT_ID}", "${PROJECT_ID}", "D"),
    ("$$(date)", "$(date)", "D"),
    ("$(date)", "$(date)", "L: no template"),
    ("$lower", "$lower", "L: no template"),
    ("${lower}", "${lower}", "L: no template"),
    ("$1", "$1", "L: no template"),
    ("$", "$", "L"),
    ("100$", "100$", "L"),
    ("$ PROJECT_ID", "$ PROJECT_ID", "L"),
    ("${PROJECT_ID", "${PROJECT_ID", "L: no template"),
    ("${}", "${}", "L: no template"),
    ("PROJECT_ID", "PROJECT_ID", "L"),
    ("$PROJECT_IDx", "my-projectx", "L: a key is upper case, so it ends before the x"),
    ("${_A:-x}", "${_A:-x}", "D: bash's forms need dynamicSubstitutions"),
    ("${_A^^}", "${_A^^}", "D"),
    ("${_A/l/m}", "${_A/l/m}", "D"),
    ("", "", "L"),
    ("no dollar", "no dollar", "L"),
    ("ümlaut $_A", "ümlaut alpha", "L"),
]

# with options.dynamicSubstitutions
DYNAMIC = [
    ("$_A", "alpha", "D"),
    ("${_A}", "alpha", "D"),
    ("$$_A", "$_A", "D"),
    ("${_A:-x}", "alpha", "D"),
    ("${_EMPTY:-x}", "x", "D"),
    ("${_EMPTY:-$_A}", "alpha", "D: bindings"),
    ("${_EMPTY:-${_A}}", "alpha", "D: bindings"),
    ("${_A:+x}", "x", "D"),
    ("${_EMPTY:+x}", "", "D"),
    ("${_A^^}", "ALPHA", "D"),
    ("${BRANCH_NAME,,}", "feature/one", "D"),
    ("${_A^}", "Alpha", "D"),
    ("${BRANCH_NAME,}", "feature/One", "D"),
    ("${BRANCH_NAME//\\//-}", "feature/One", "L: a backslash is a letter of the pattern here"),
    ("${BRANCH_NAME/feature/f}", "f/One", "D"),
    ("${_PATH/a/x}", "x/b/c.tar.gz", "D"),
    ("${_PATH//a/x}", "x/b/c.txr.gz", "D"),
    ("${TAG_NAME#v}", "1.2.3", "D"),
    ("${TAG_NAME#x}", "v1.2.3", "D"),
    ("${_PATH#*/}", "b/c.tar.gz", "D: shortest"),
    ("${_PATH##*/}", "c.tar.gz", "D: longest"),
    ("${_PATH%.*}", "a/b/c.tar", "D: shortest"),
    ("${_PATH%%.*}", "a/b/c", "D: longest"),
    ("${_PATH%.zip}", "a/b/c.tar.gz", "D"),
    ("${_A:0:2}", "al", "D"),
    ("${_A:1}", "lpha", "D"),
    ("${_A:1:2}", "lp", "D"),
    ("${_A:9}", "", "D"),
    ("${_A: -2}", "ha", "D"),
    ("x${_A:0:1}y$_REPO", "xayml-images", "D"),
    ("${SHORT_SHA:-manual}", "manual", "D"),
    ("sha-${SHORT_SHA}", "sha-", "D"),
]


@pytest.mark.parametrize(("template", "expansion", "source"), PLAIN)
def test_plain(template: str, expansion: str, source: str) -> None:
    assert substitutions.expand(template, VALUES) == expansion, source


@pytest.mark.parametrize(("template", "expansion", "source"), DYNAMIC)
def test_dynamic(template: str, expansion: str, source: str) -> None:
    assert substitutions.expand(template, VALUES, dynamic=True) == expansion, source


# (given data, the sentence or "" when it is taken, source)
DATA = [
    ({}, "", "L"),
    ({"_A": "x"}, "", "D"),
    ({"_A1_B": ""}, "", "D"),
    ({"_1": "x"}, "", "D"),
    ({"SHORT_SHA": "4f2a9c1"}, "", "D: may be set by hand"),
    ({"COMMIT_SHA": "x", "TAG_NAME": "y", "BRANCH_NAME": "z", "REPO_NAME": "r", "REVISION_ID": "i"}, "", "D"),
    ({"A": "x"}, 'substitution key "A" does not respect format', "Q"),
    ({"_a": "x"}, 'substitution key "_a" does not respect format', "D"),
    ({"PROJECT_ID": "x"}, 'substitution key "PROJECT_ID" does not respect format', "L"),
    ({"BUILD_ID": "x"}, 'substitution key "BUILD_ID" does not respect format', "L"),
    ({"LOCATION": "x"}, 'substitution key "LOCATION" does not respect format', "D"),
    ({"_": "x"}, 'substitution key "_" does not respect format', "D"),
    ({"_A-B": "x"}, 'substitution key "_A-B" does not respect format', "D"),
    ({"_" + "A" * 100: "x"}, "too long (max: 100)", "L"),
    ({"_A": "x" * 4001}, "too long (max: 4000)", "L"),
    ({"_A": "x" * 4000}, "", "L"),
    ({f"_K{n}": "" for n in range(201)}, "number of substitutions 201 exceeded", "D"),
]


@pytest.mark.parametrize(("data", "sentence", "source"), DATA)
def test_data(data: dict[str, str], sentence: str, source: str) -> None:
    if not sentence:
        substitutions.check_data(data)
        return
    with pytest.raises(SubstitutionError) as refused:
        substitutions.check_data(data)
    assert sentence in str(refused.value), source


def build(*args: str, **more: Any) -> dict[str, Any]:
    return {"steps": [{"name": "x", "args": list(args)}], **more}


# (build, data, loose, the sentence, source)
MATCH = [
    (build("$_A"), {"_A": "1"}, False, "", "D"),
    (build("$PROJECT_ID"), {}, False, "", "D"),
    (build("$SHORT_SHA"), {}, False, "", "D: a built-in need not be set"),
    (build("$SHORT_SHA"), {"SHORT_SHA": "x"}, False, "", "D"),
    (build("x"), {"SHORT_SHA": "x"}, False, "", "L: only user keys must be used"),
    (build("$_A"), {}, False, 'key in the template "_A" is not matched in the substitution data', "L"),
    (build("x"), {"_A": "1"}, False, 'key "_A" in the substitution data is not matched in the template', "L"),
    (build("$FOO"), {}, False, 'key in the template "FOO" is not a valid built-in substitution', "Q"),
    (build("$FOO"), {}, True, 'key in the template "FOO" is not a valid built-in substitution', "L: also loose"),
    (build("$_A"), {}, True, "", "D: ALLOW_LOOSE"),
    (build("x"), {"_A": "1"}, True, "", "D: ALLOW_LOOSE"),
    (build("$$_A"), {}, False, "", "L: escaped"),
    (build("$$_A"), {"_A": "1"}, False, 'key "_A" in the substitution data is not matched in the template', "L"),
    (build("x", images=["$_A"]), {"_A": "1"}, False, "", "L"),
    (build("x", tags=["$_A"]), {"_A": "1"}, False, "", "D"),
    (build("x", logsBucket="gs://$_A"), {"_A": "1"}, False, "", "D"),
    (build("x", serviceAccount="$_A"), {"_A": "1"}, False, "", "D"),
    (build("x", options={"env": ["A=$_A"]}), {"_A": "1"}, False, "", "D"),
    ({"steps": [{"name": "x", "env": ["A=$_A"]}]}, {"_A": "1"}, False, "", "D"),
    ({"steps": [{"name": "x", "dir": "$_A"}]}, {"_A": "1"}, False, "", "D"),
    ({"steps": [{"name": "$_A"}]}, {"_A": "1"}, False, "", "D"),
    ({"steps": [{"name": "x", "entrypoint": "$_A"}]}, {"_A": "1"}, False, "", "D"),
    ({"steps": [{"name": "x", "script": "echo $_A"}]}, {}, False, "", "D: a script is no template"),
    ({"steps": [{"name": "x", "script": "$_A", "automapSubstitutions": True}]}, {"_A": "1"}, False, "", "D"),
    (build("x", options={"automapSubstitutions": True}), {"_A": "1"}, False, "", "D"),
]


@pytest.mark.parametrize(("asked", "data", "loose", "sentence", "source"), MATCH)
def test_match(asked: dict[str, Any], data: dict[str, str], loose: bool, sentence: str, source: str) -> None:
    if not sentence:
        substitutions.check(asked, data, loose=loose, dynamic=False)
        return
    with pytest.raises(SubstitutionError) as refused:
        substitutions.check(asked, data, loose=loose, dynamic=False)
    assert str(refused.value) == sentence, source


def test_values_may_name_each_other() -> None:
    given = {"_IMAGE": "${_HOST}/$PROJECT_ID", "_HOST": "${LOCATION}-docker.pkg.dev"}
    resolved = substitutions.resolve({**VALUES, **given})
    assert resolved["_IMAGE"] == "us-central1-docker.pkg.dev/my-project"


def test_a_circle_of_values_is_refused() -> None:
    with pytest.raises(SubstitutionError, match="circle"):
        substitutions.resolve({"_A": "x${_B}", "_B": "y${_A}"})


def step(**more: Any) -> dict[str, Any]:
    return {"name": "gcr.io/cloud-builders/docker", **more}


NO_LOG = "if 'build.service_account' is specified"
# (build, the sentence or "", source)
BUILDS = [
    ({"steps": [step()]}, "", "P"),
    ({"steps": []}, "no build steps specified", "L"),
    ({"steps": [step()] * 101}, "more than 100 build steps", "L"),
    ({"steps": [{"args": ["x"]}]}, "build step 0 must specify name", "L"),
    ({"steps": [step(name="Upper/Case")]}, 'invalid build step name "Upper/Case": could not parse reference', "L"),
    ({"steps": [step(name="host:5000/a@sha256:" + "0" * 64)]}, "", "L"),
    ({"steps": [step(args=["x"] * 101)]}, "too many args (max: 100)", "L"),
    ({"steps": [step(args=["x" * 10001])]}, "arg 0 too long", "L"),
    ({"steps": [step(env=["A"])]}, "env 0 must be of the form KEY=VALUE", "L"),
    ({"steps": [step(env=["A=b=c"])]}, "", "L"),
    ({"steps": [step(dir="../x")]}, "dir cannot refer to the parent directory", "L"),
    ({"steps": [step(dir="/x/../y")]}, "", "L: absolute"),
    ({"steps": [step(script="ls", args=["x"])]}, "cannot specify both script and args or entrypoint", "P"),
    ({"steps": [step(script="ls", entrypoint="x")]}, "cannot specify both script and args or entrypoint", "P"),
    ({"steps": [step(id="a"), step(id="a")]}, "duplicate build step id", "L"),
    ({"steps": [step(waitFor=["b"])]}, 'depends on "b", which has not been defined', "L"),
    ({"steps": [step(id="a"), step(waitFor=["a", "a"])]}, "has duplicate dependencies", "L"),
    ({"steps": [step(waitFor=["-"])]}, "", "S"),
    ({"steps": [step()], "images": ["us-central1-docker.pkg.dev/p/r/i:"]}, "invalid image name", "Q"),
    ({"steps": [step()], "images": [""]}, "invalid image name", "L"),
    ({"steps": [step()], "images": ["us-central1-docker.pkg.dev/p/r/i:v1"]}, "", "P"),
    ({"steps": [step()], "images": ["x"] * 101}, "number of images 101 exceeded (max: 100)", "L"),
    ({"steps": [step()], "tags": ["a b"]}, 'invalid build tag "a b"', "L"),
    ({"steps": [step()], "tags": ["a"] * 65}, "number of tags 65 exceeded (max: 64)", "L"),
    ({"steps": [step()], "timeout": "86401s"}, "build timeout exceeds 24h0m0s", "L"),
    ({"steps": [step()], "timeout": "-1s"}, "build timeout must be positive", "L"),
    ({"steps": [step(timeout="20s")], "timeout": "10s"}, "must not be greater than build timeout", "L"),
    ({"steps": [step(timeout="10s")], "timeout": "10s"}, "", "L"),
    ({"steps": [step(volumes=[{"name": "v", "path": "/v"}])]}, "is used by only one step", "P"),
    ({"steps": [step(volumes=[{"name": "v", "path": "/v"}])] * 2}, "", "P"),
    ({"steps": [step(volumes=[{"name": "v", "path": "v"}])] * 2}, "is not absolute", "L"),
    ({"steps": [step(volumes=[{"name": "v", "path": "/workspace"}])] * 2}, "is reserved", "L"),
    ({"steps": [step(volumes=[{"name": "-", "path": "/v"}])] * 2}, "is not valid", "L"),
    ({"steps": [step()], "serviceAccount": "a"}, NO_LOG, "Q"),
    ({"steps": [step()], "serviceAccount": "a", "options": {"logging": "GCS_ONLY"}}, NO_LOG, "Q"),
    ({"steps": [step()], "serviceAccount": "a", "options": {"logging": "CLOUD_LOGGING_ONLY"}}, "", "Q"),
    ({"steps": [step()], "serviceAccount": "a", "options": {"logging": "NONE"}}, "", "Q"),
    ({"steps": [step()], "serviceAccount": "a", "logsBucket": "gs://b"}, "", "Q"),
    (
        {
            "steps": [step()],
            "serviceAccount": "a",
            "options": {"defaultLogsBucketBehavior": "REGIONAL_USER_OWNED_BUCKET"},
        },
        "",
        "Q",
    ),
]


@pytest.mark.parametrize("name", ["-hx.io/a", "-v:5/a", "--rm.io:5/a", "a.-b.io/c", "-hx.io", "-h"])
def test_a_name_that_docker_would_take_for_an_option_is_no_image(name: str) -> None:
    assert not validation.is_reference(name)


@pytest.mark.parametrize(
    "name",
    ["busybox", "gcr.io/cloud-builders/docker", "localhost:5001/a/b-c:1", "a-b.io:5/c__d", "python@sha256:" + "0" * 64],
)
def test_what_docker_reads_as_an_image_is_one(name: str) -> None:
    assert validation.is_reference(name)


@pytest.mark.parametrize(("asked", "sentence", "source"), BUILDS)
def test_build(asked: dict[str, Any], sentence: str, source: str) -> None:
    if not sentence:
        validation.check(asked)
        return
    with pytest.raises(BuildInvalid) as refused:
        validation.check(asked)
    assert sentence in str(refused.value), source


# (waitFor of each step, what each waits for, source)
GRAPHS: list[tuple[list[list[str]], list[set[int]], str]] = [
    ([[], [], []], [set(), {0}, {0, 1}], "S: all before"),
    ([["-"], ["-"]], [set(), set()], "S"),
    ([[], ["-"], []], [set(), set(), {0, 1}], "S"),
    ([[], ["s0"], ["s0"], []], [set(), {0}, {0}, {0, 1, 2}], "S"),
    ([[], ["s0"], ["s0", "s1"]], [set(), {0}, {0, 1}], "S"),
    ([[], ["-", "s0"]], [set(), {0}], "L"),
]


@pytest.mark.parametrize(("named", "expected", "source"), GRAPHS)
def test_order(named: list[list[str]], expected: list[set[int]], source: str) -> None:
    steps = [step(id=f"s{place}", waitFor=waits) for place, waits in enumerate(named)]
    assert [set(needs) for needs in plan.waits(steps)] == expected, source


def test_what_may_start_now() -> None:
    graph = [frozenset[int](), frozenset({0}), frozenset[int](), frozenset({1, 2})]
    assert plan.ready(graph, set(), set()) == [0, 2]
    assert plan.ready(graph, {0, 2}, {0}) == [1]
    assert plan.ready(graph, {0, 1, 2}, {0, 1}) == []
    assert plan.ready(graph, {0, 1, 2}, {0, 1, 2}) == [3]


def test_there_are_at_least_120_cases() -> None:
    assert sum(map(len, (PLAIN, DYNAMIC, DATA, MATCH, BUILDS, GRAPHS))) >= 120
