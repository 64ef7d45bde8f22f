"""Every route with bodies, queries and paths that no client would send: refused, never an error of the sandbox's own.

A slice runs here; `make soak` runs all of it and prints how long an answer took.
"""

from __future__ import annotations

import copy
import json
import os
import random
import statistics
import time
from collections import Counter
from typing import Any

import pytest
import requests

from sandbox.api.methods import Api, Method
from tests.sandbox import intruders
from tests.sandbox import test_every_route as routes

CALLS, REGISTRY_CALLS = (20_000, 5_000) if os.environ.get("WORKBOOK_SOAK") == "1" else (700, 200)
target = routes.target

# What would end the world that the other calls are made in.
NOT_ASKED = (
    "cloudresourcemanager.projects.delete",
    "cloudresourcemanager.projects.setIamPolicy",
    "serviceusage.services.disable",
    "iam.projects.serviceAccounts.delete",
    "iam.projects.serviceAccounts.disable",
)
ROUTES = [(api, method) for api, method in routes.ROUTES if method.id not in NOT_ASKED]
STAYING = [(api, method) for api, method in ROUTES if method.verb != "DELETE"]
HUGE = "\x00huge"  # stands for a number that JSON has and Python's writer cannot be made to write
JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    5,
    0.5,
    10**30,
    HUGE,
    "",
    "x",
    "9" * 5000,
    "²",
    "\ud800",
    "a/b",
    "projects/-",
    [],
    {},
    [None],
    [[]],
    [{}],
    [5],
    {"": None},
    {"a": {"b": []}},
    {"name": 5},
    "../..",
    "%",
    "\x00",
)
TEXTS = ("", "x", "-1", "9" * 5000, "²", "\ud800".encode("utf-8", "surrogatepass"), b"\xff", "\x00", "[" * 3000)
TEXTS_OF_TOKENS = ("WyJ4IiwxZTk5OV0=", "WyJcdWQ4MDAiLDFd", "W10=", "NQ==")
FILTERS = (
    "NOT " * 900 + "a=b",
    "(" * 900,
    'a="\\',
    "a:*",
    "name=*?[",
    "a AND",
    "severity>=5",
    "timestamp>x",
    "*" * 500,
)
NAMES = ("pageSize", "pageToken", "filter", "orderBy", "updateMask", "alt", "name", "prefix", "limit", "continue")
HEADERS = ("Range", "Content-Range", "Content-Type", "X-Goog-User-Project", "If-Match", "X-Upload-Content-Type")

_CONTAINER = {
    "image": "us-central1-docker.pkg.dev/p/r/i",
    "ports": [{"containerPort": 8080, "name": "http1"}],
    "env": [
        {"name": "A", "value": "b"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "kept", "key": "latest"}}},
    ],
    "command": ["a"],
    "args": ["b"],
    "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
    "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3},
}
_KNATIVE = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": "fuzz", "namespace": "1", "labels": {"a": "b"}, "annotations": {"a": "b"}},
    "spec": {
        "template": {
            "metadata": {"name": "fuzz-1", "labels": {"a": "b"}, "annotations": {"a": "b"}},
            "spec": {
                "containers": [_CONTAINER],
                "serviceAccountName": "x",
                "timeoutSeconds": 5,
                "containerConcurrency": 80,
            },
        },
        "traffic": [{"percent": 100, "latestRevision": True, "tag": "t"}],
    },
}
_POLICY = {"policy": {"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}], "etag": "ACAB", "version": 1}}
_BUILD = {
    "steps": [
        {"name": "gcr.io/cloud-builders/docker", "args": ["-h"], "env": ["A=$_B"], "id": "one", "waitFor": ["-"]}
    ],
    "substitutions": {"_B": "c"},
    "images": ["us-central1-docker.pkg.dev/p/r/i"],
    "timeout": "60s",
    "source": {"storageSource": {"bucket": "b", "object": "o", "generation": "1"}},
    "options": {"logging": "NONE"},
    "tags": ["x"],
}
_SCAN = {"resourceUri": "https://us-central1-docker.pkg.dev/p/r/i@sha256:" + "0" * 64, "packages": [{"package": "a"}]}
# A body that its method would take, or nearly; a place in it is then replaced. By the end of the method's id.
BODIES: dict[str, Any] = {
    "namespaces.services.create": _KNATIVE,
    "replaceService": _KNATIVE,
    "setIamPolicy": _POLICY,
    "testIamPermissions": {"permissions": ["a.b.c"]},
    "entries.list": {
        "resourceNames": ["projects/x"],
        "filter": 'a="b" AND severity>=INFO',
        "orderBy": "timestamp desc",
        "pageSize": 5,
        "pageToken": "",
    },
    "budgets.create": {
        "displayName": "x",
        "amount": {"specifiedAmount": {"currencyCode": "USD", "units": "5"}},
        "thresholdRules": [{"thresholdPercent": 0.5}],
        "budgetFilter": {"projects": ["projects/x"]},
    },
    "updateBillingInfo": {"billingAccountName": ""},
    "buckets.insert": {"name": "fuzzed-bucket", "location": "US", "labels": {"a": "b"}},
    "objects.insert": {"name": "x"},
    "builds.create": _BUILD,
    "triggers.create": {"name": "fuzz", "build": _BUILD, "github": {"push": {"branch": "^main$"}}},
    "triggers.patch": {"name": "fuzz", "build": _BUILD, "github": {"push": {"branch": "^main$"}}},
    "triggers.run": {"source": {"branchName": "main", "substitutions": {"_A": "b"}}},
    "secrets.create": {"replication": {"automatic": {}}, "labels": {"a": "b"}},
    "addVersion": {"payload": {"data": "eA==", "dataCrc32c": "1"}},
    "batchEnable": {"serviceIds": ["run.googleapis.com"]},
    "roles.create": {"roleId": "fuzz", "role": {"title": "x", "includedPermissions": ["artifactregistry.tags.get"]}},
    "roles.patch": {"title": "x", "includedPermissions": ["artifactregistry.tags.get"], "stage": "GA"},
    "projects.create": {"projectId": "fuzzed-project", "name": "x", "labels": {"a": "b"}},
    "serviceAccounts.create": {"accountId": "fuzz-acc", "serviceAccount": {"displayName": "x", "description": "y"}},
    "keys.create": {"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE", "keyAlgorithm": "KEY_ALG_RSA_2048"},
    "generateAccessToken": {"scope": ["x"], "lifetime": "60s", "delegates": ["projects/-/serviceAccounts/a@b.c"]},
    "generateIdToken": {"audience": "x", "includeEmail": True},
    "signBlob": {"payload": "eA=="},
    "signJwt": {"payload": '{"sub": "x"}'},
    "repositories.create": {
        "format": "DOCKER",
        "labels": {"a": "b"},
        "cleanupPolicies": {"a": {"id": "a", "action": "DELETE", "condition": {"olderThan": "1s", "tagState": "ANY"}}},
    },
    "repositories.patch": {"cleanupPolicies": {"a": {"id": "a", "mostRecentVersions": {"keepCount": 1}}}},
    "services.create": {"template": {"containers": [{"image": "x", "env": [{"name": "A", "value": "b"}]}]}},
    "services.patch": {"template": {"containers": [{"image": "x"}], "timeout": "5s", "revision": "x"}},
    "analyzePackages": _SCAN,
    "notes.create": {"shortDescription": "x", "attestation": {"hint": {"humanReadableName": "x"}}},
    "notes.batchCreate": {"notes": {"a": {"attestation": {"hint": {"humanReadableName": "x"}}}}},
    "occurrences.create": {"noteName": "projects/p/notes/n", "resourceUri": "https://x", "attestation": {}},
    "workloadIdentityPools.create": {"displayName": "x", "description": "y", "disabled": False},
    "providers.create": {
        "oidc": {"issuerUri": "https://a.example", "allowedAudiences": ["x"]},
        "attributeMapping": {"google.subject": "assertion.sub"},
        "attributeCondition": "true",
    },
}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in pairs:
        found += _places(one, (*path, key))
    return found


def _mutated(chance: random.Random, body: Any) -> Any:
    """The body with junk at one to three of its places."""
    body = copy.deepcopy(body)
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice(_places(body)) or ("",)
        holder = body
        for key in way:
            holder = holder[key]
        if isinstance(holder, dict):
            holder[chance.choice((last, last, last, "junk"))] = copy.deepcopy(chance.choice(JUNK))
        elif isinstance(holder, list):
            holder[last] = copy.deepcopy(chance.choice(JUNK))
    return body


def _body(chance: random.Random, method: Method) -> bytes:
    seeds = [body for end, body in BODIES.items() if method.id.endswith(end)]
    match chance.random():
        case rolled if rolled < 0.03:
            return chance.choice((b"[" * 20_000, b"{", b"\xff\xfe", b"NaN", b'{"a":' * 900 + b"1" + b"}" * 900, b"5"))
        case rolled if rolled < 0.15 or not seeds:
            keys = ("name", "labels", "policy", "source", "metadata", "spec", "filter", "parent", "role", "payload")
            body: Any = {chance.choice(keys): chance.choice(JUNK) for _ in range(chance.randint(0, 3))}
        case _:
            body = _mutated(chance, seeds[0])
    return json.dumps(body).replace(json.dumps(HUGE), "1e999").encode()


def _text(chance: random.Random) -> Any:
    return chance.choice((*TEXTS, *TEXTS_OF_TOKENS, *FILTERS))


def _call(chance: random.Random, there: intruders.Target, api: Api, method: Method) -> requests.Response:
    path = there.path(method)
    if chance.random() < 0.15:
        parts = path.split("/")
        parts[chance.randrange(len(parts))] = chance.choice(
            ("%ff", "%ed%a0%80", "%00", "%25", "x" * 3000, "-", "%2F", "é")
        )
        path = "/".join(parts)
    query: dict[str, Any] = intruders.QUERIES.get(method.id, lambda _: {})(there.project)
    if chance.random() < 0.4:
        query |= {chance.choice((*NAMES, f"{path.rpartition('/')[2][:-1]}Id")): _text(chance)}
    headers = {}
    if chance.random() < 0.1:
        headers[chance.choice(HEADERS)] = chance.choice(
            ("bytes=5-", f"bytes={'9' * 5000}-", "bytes 5-9/*", "x", "²".encode())
        )
    data = b"" if method.verb in ("GET", "DELETE") and chance.random() < 0.9 else _body(chance, method)
    at = f"/{intruders.host_of(api, method)}{path}"
    return there.call(method.verb, at, there.owner, params=query, data=data, headers=headers)


def _is_failure(status: int) -> bool:
    return status == 500 or status > 503


def _told(what: str, times: list[float], answers: Counter[int]) -> None:
    middle, slowest = (statistics.quantiles(times, n=100)[place] * 1000 for place in (49, 98))
    print(f"\n{what}: {len(times)} calls, p50 {middle:.0f} ms, p99 {slowest:.0f} ms, {sorted(answers.items())}")


def _log(there: intruders.Target) -> str:
    return (there.home / "sandbox.log").read_text(errors="replace")


@pytest.mark.timeout(3600 if CALLS > 1000 else 120)
def test_no_input_of_an_api_is_an_error_of_the_sandbox(target: intruders.Target) -> None:
    chance = random.Random(15)
    failures: dict[str, str] = {}
    times = []
    answers: Counter[int] = Counter()
    for number in range(CALLS):
        # What is there is deleted at the end.
        asked = ROUTES if number > 0.9 * CALLS else STAYING
        api, method = asked[number % len(asked)] if number % 2 else chance.choice(asked)
        began = time.perf_counter()
        answer = _call(chance, target, api, method)
        times.append(time.perf_counter() - began)
        answers[answer.status_code] += 1
        if _is_failure(answer.status_code):
            sent = answer.request.body or b""
            failures[method.id] = f"{answer.request.method} {answer.request.url[:300]}\n{sent[:600]!r}"
    _told("APIs", times, answers)
    assert not failures, "\n\n".join(failures.values()) + _log(target)[-6000:]
    assert "Traceback" not in _log(target)


@pytest.mark.timeout(3600 if CALLS > 1000 else 120)
def test_no_input_of_the_registry_is_an_error_of_the_sandbox(target: intruders.Target) -> None:
    chance = random.Random(15)
    parent = f"/artifactregistry.googleapis.com/v1/projects/{target.project}/locations/us-central1/repositories"
    assert target.call("POST", f"{parent}?repositoryId=fuzzed", target.owner, json={"format": "DOCKER"}).ok
    image = f"/v2/{intruders.HOST}/{target.project}/fuzzed/app"
    pushed = target.call(
        "POST", f"{image}/blobs/uploads/?digest={intruders.CONFIG_DIGEST}", target.owner, data=intruders.CONFIG
    )
    assert pushed.status_code == 201
    manifest = json.loads(intruders.CONTENT) | {
        "annotations": {"a": "b"},
        "subject": {"mediaType": intruders.MANIFEST, "digest": intruders.DIGEST, "size": 5},
        "manifests": [{"mediaType": "x", "digest": intruders.DIGEST, "size": 5, "platform": {"architecture": "x"}}],
        "artifactType": "a/b",
    }
    ends = (
        "/manifests/v1",
        f"/manifests/{intruders.DIGEST}",
        f"/blobs/{intruders.CONFIG_DIGEST}",
        "/blobs/uploads/",
        "/blobs/uploads/none",
        "/tags/list",
        f"/referrers/{intruders.DIGEST}",
        "/manifests/%ff",
        "/blobs/sha256:x",
        "/manifests/" + "x" * 3000,
    )
    kinds = (intruders.MANIFEST, "application/vnd.oci.image.index.v1+json", "", "x/y", "²".encode())
    failures: dict[str, str] = {}
    times = []
    answers: Counter[int] = Counter()
    while len(times) < REGISTRY_CALLS:
        verb = chance.choice(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"))
        end = chance.choice(ends)
        # The two that the tests above read stay.
        if verb == "DELETE" and end.endswith(("v1", intruders.DIGEST, intruders.CONFIG_DIGEST)):
            continue
        headers = {"Content-Type": chance.choice(kinds)}
        if chance.random() < 0.3:
            headers[chance.choice(("Range", "Content-Range", "Accept"))] = chance.choice(
                (f"bytes={'9' * 5000}-", "5-9", "²-³".encode(), "bytes=-0", "bytes=1-²".encode())
            )
        query = {chance.choice(("n", "last", "digest", "mount", "from", "artifactType")): _text(chance)}
        data = json.dumps(_mutated(chance, manifest)).replace(json.dumps(HUGE), "1e999") if verb[0] == "P" else ""
        began = time.perf_counter()
        answer = target.call(verb, f"{image}{end}", target.owner, params=query, data=data, headers=headers)
        times.append(time.perf_counter() - began)
        answers[answer.status_code] += 1
        if _is_failure(answer.status_code):
            failures[f"{verb} {end}"] = f"{verb} {answer.request.url[:300]} {headers}\n{data[:600]}"
    _told("registry", times, answers)
    assert not failures, "\n\n".join(failures.values()) + _log(target)[-6000:]
    assert "Traceback" not in _log(target)
