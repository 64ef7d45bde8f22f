"""`workbook sweep` removes everything that runs killed at random points left, and nothing of others.

The sandbox takes Google's place. The run's only notebook makes every kind of resource that notebooks make.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from google.api_core import exceptions

from cli.readiness import real
from cli.run import stale
from cli.world.starter import World
from helpers import iam, images, leftovers, names, projects, repositories, target
from helpers.names import Project, Repository
from helpers.target import Target
from helpers.transport import rest

ROOT = Path(__file__).parents[2]
WHOLE = os.environ.get("WORKBOOK_SOAK") == "1"
KILLS = 20 if WHOLE else 1
CALLS = 60  # that a run makes, at least; the whole test counts them
BUDGETS = "https://billingbudgets.googleapis.com/v1"

# What the notebooks make, cell by cell: a budget (1), repositories (2), accounts with roles (6, 9), an image (4),
# builds with sources and a service (6), a trigger, a pool and a secret (11); and an account that the policy names
# though it is gone.
CELLS = (
    """
import os
from pathlib import Path
from helpers import access, builds, deploys, leftovers, names, projects, registry, repositories, target
from helpers.transport import rest
from google.cloud.devtools.cloudbuild_v1 import types
here = target.current()
project, run = here.location.project, here.run
budget = {"displayName": f"workbook {run}", "budgetFilter": {"projects": [f"projects/{project}"]},
          "amount": {"specifiedAmount": {"currencyCode": "USD", "units": "5"}}}
rest.call("POST", f"{leftovers.BUDGETS}/billingAccounts/{here.billing_account}/budgets", json=budget)
""",
    """
for name in ("", "-release", "-scan"):
    made = names.Repository(here.location, here.repository_name.id + name)
    repositories.create(made, labels=here.labels)
registry.push(here.repository_name.image("app").tag("1"), [{"a": "b"}])
""",
    """
builder, runtime, gone = (access.account(project, purpose, run) for purpose in ("builder", "runtime", "gone"))
for account in (builder, runtime, gone):
    access.create_account(account, run, "made by a run")
    access.grant(project, "roles/logging.logWriter", account.member)
access.grant(project, "roles/storage.objectViewer", builder.member)
access.grant(here.repository_name, access.WRITER, builder.member)
access.delete_account(gone)
""",
    """
trigger = {"name": f"by-hand-{run}", "serviceAccount": f"{project.resource}/serviceAccounts/{builder}",
           "build": {"steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["version"]}]}}
rest.call("POST", f"{leftovers.BUILD}/{here.location.resource}/triggers", json=trigger)
step = types.BuildStep(name="gcr.io/cloud-builders/docker", args=["version"])
asked = types.Build(steps=[step], service_account=f"{project.resource}/serviceAccounts/{builder}",
                    options={"logging": "CLOUD_LOGGING_ONLY"})
for source in ("README.md", "LICENSE"):
    builds.submit(here.location, asked, [target.ROOT / source], target.ROOT)
""",
    """
from helpers import federation, secret_store
pool = federation.create_pool(project, federation.pool_id(run), run)
federation.trust_github(project, federation.pool_id(run), "actions", "your-name/ml-predictor")
secret_store.put(project, f"key-{run[-6:]}", b"nobody knows", run)
secret_store.let_read(project, f"key-{run[-6:]}", runtime.member)
""",
    """
if image := os.environ.get("SERVED"):
    deploys.deploy(here.location, f"s-{run[-6:]}", names.Digest.parse(image), run=run, account=str(runtime),
                   command=["sh", "-c", "exec python3 -m http.server $PORT"])
""",
)
PROGRAM = (
    "import sys; from pathlib import Path; from rich.console import Console; from cli.run import plans, runner;"
    "plan = plans.Plan((Path(sys.argv[1]),), target='gcp', project=sys.argv[2]);"
    "sys.exit(runner.run(plan, Console(), Path(sys.argv[3])).code)"
)

pytestmark = [pytest.mark.docker, pytest.mark.timeout(0 if WHOLE else 300), pytest.mark.usefixtures("python_image")]


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    made.cells = [nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(CELLS)]
    path = tmp_path / "00_everything.ipynb"
    nbformat.write(made, path)
    return path


@pytest.fixture
def project(in_world: Target, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with resources of others of every kind that a run makes, some with similar names and labels."""
    found = in_world.location.project
    apis = ("artifactregistry", "iam", "cloudbuild", "run", "cloudresourcemanager", "secretmanager")
    projects.enable(found, *(f"{name}.googleapis.com" for name in apis))
    for name, labels in (("others", {"team": "ml"}), ("ml-images-20200101t000000-abcdef", {})):
        repositories.create(Repository(in_world.location, name), labels=labels)
    other = iam.ServiceAccount(found, "wb-ci-0a0a0a")
    about = {"accountId": other.id, "serviceAccount": {"description": "a robot of others"}}
    rest.call("POST", f"{leftovers.IAM}/{found.resource}/serviceAccounts", json=about)
    iam.grant(found, "roles/viewer", other.member)
    bucket = f"{found}-data"
    rest.call("POST", f"{leftovers.STORAGE}/b", params={"project": found.id}, json={"name": bucket})
    upload = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
    rest.call("POST", upload, params={"uploadType": "media", "name": "source/theirs.tgz"}, data=b"theirs")
    account = in_world.billing_account
    budget = {"displayName": "workbook of others", "amount": {"specifiedAmount": {"units": "5"}}}
    rest.call("POST", f"{BUDGETS}/billingAccounts/{account}/budgets", json=budget)
    secret = {"replication": {"automatic": {}}, "labels": {"team": "ml"}}
    rest.call("POST", f"{leftovers.SECRETS}/{found.resource}/secrets", params={"secretId": "theirs"}, json=secret)
    pools = f"{leftovers.IAM}/{found.resource}/locations/global/workloadIdentityPools"
    rest.call("POST", pools, params={"workloadIdentityPoolId": "theirs"}, json={"description": "of others"})
    trigger = {"name": "theirs", "build": {"steps": [{"name": "gcr.io/cloud-builders/docker"}]}}
    rest.call("POST", f"{leftovers.BUILD}/{in_world.location.resource}/triggers", json=trigger)
    if WHOLE:
        monkeypatch.setenv("SERVED", str(_served(in_world)))
    for name in ("WORKBOOK_TARGET", "SANDBOX_URL"):
        monkeypatch.delenv(name, raising=False)
    return found


def _served(here: Target) -> names.Digest:
    """An image that can serve, in a repository that no run made."""
    from helpers import identity

    identity.sign_in()
    tag = Repository(here.location, "others").image("python").tag("1")
    with contextlib.closing(images.engine()) as client:
        images.retag(client, os.environ["PYTHON_IMAGE"], here.docker_name(tag))
    return images.push(tag).digest


def inventory(here: Target) -> set[str]:
    """Return everything in the project that can be listed and deleted."""
    project, place = here.location.project, here.location.resource
    found = {f"bucket {one['name']}" for one in _all(f"{leftovers.STORAGE}/b?project={project}", "items")}
    for bucket in list(found):
        url = f"{leftovers.STORAGE}/b/{bucket.partition(' ')[2]}/o"
        found |= {f"object {one['id']}" for one in _all(url, "items")}
    lists = (
        (f"https://artifactregistry.googleapis.com/v1/{place}/repositories", "repositories"),
        (f"{leftovers.IAM}/{project.resource}/serviceAccounts", "accounts"),
        (f"{leftovers.IAM}/{project.resource}/locations/global/workloadIdentityPools", "workloadIdentityPools"),
        (f"{leftovers.SECRETS}/{project.resource}/secrets", "secrets"),
        (f"{leftovers.BUILD}/{place}/triggers", "triggers"),
        (f"{BUDGETS}/billingAccounts/{here.billing_account}/budgets", "budgets"),
    )
    for url, key in lists:
        found |= {f"{key} {one.get('name')}" for one in _all(url, key)}
    services = f"https://{here.region}-run.googleapis.com/apis/serving.knative.dev/v1/namespaces/{project}/services"
    found |= {f"service {one['metadata']['name']}" for one in _all(services, "items")}
    return found | {f"binding {one.role} {one.member}" for one in iam.bindings(project)}


def _all(url: str, key: str) -> list[dict[str, Any]]:
    # What the sandbox doesn't have holds nothing.
    with contextlib.suppress(exceptions.MethodNotImplemented, exceptions.NotFound):
        found: list[dict[str, Any]] = rest.call("GET", url).get(key, [])
        return found
    return []


def calls(world: World) -> int:
    """Return how many calls the sandbox has answered."""
    return max((one["number"] for one in world.admin("requests")["requests"]), default=0)


def below(pid: int) -> list[int]:
    """Return a process's descendants."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(stat.parent.name), *below(int(stat.parent.name))]
    return found


@contextlib.contextmanager
def started(notebook: Path, project: Project, runs: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", PROGRAM, str(notebook), project.id, str(runs)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the run, its kernel and their descendants together, as when the machine goes down."""
    for pid in [process.pid, *below(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def test_what_a_killed_run_left_is_swept_and_nothing_else(
    notebook: Path, project: Project, in_world: Target, world: World, tmp_path: Path
) -> None:
    before = inventory(in_world)
    runs = tmp_path / "runs"
    length = CALLS
    if WHOLE:
        first = calls(world)
        with started(notebook, project, runs) as process:
            assert process.wait(timeout=600) == 0
        # A run that isn't killed cleans up itself.
        assert inventory(in_world) == before
        length = calls(world) - first
    seed = secrets.randbits(32)
    dice = random.Random(seed)
    kinds: set[str] = set()
    for number in range(KILLS):
        start = calls(world)
        point = dice.randrange(1, length)
        with started(notebook, project, runs) as process:
            deadline = time.monotonic() + 600
            while process.poll() is None and calls(world) - start < point:
                assert time.monotonic() < deadline
                threading.Event().wait(0.01)
            # A run that fails in its first cell leaves nothing either.
            assert calls(world) - start >= point, f"the run ended by itself before its call {point}"
            end(process)
        said: list[str] = []
        everything = real.Wanted(project.id, in_world.region, older_than="0m")
        assert real.clean(everything, remove=False, as_json=False, say=said.append) == 0, said
        kinds |= set(re.findall(r"(?m)^(\w[\w ]*?)  +\d{8}t", said[0]))
        assert real.clean(everything, remove=True, as_json=False, say=said.append) == 0, said
        left = inventory(in_world)
        assert left == before, f"seed {seed}, kill {number} after {point} calls of {length}: {left ^ before}\n{said}"
        assert real.clean(everything, remove=False, as_json=False, say=said.append) == 0
        assert said[-1] == "No run left anything."
        stale.clean(runs, said.append)
        assert not list(runs.glob("*/world"))
    if WHOLE:
        assert kinds == set(leftovers.ORDER) - {"container", "image"}
    print(f"{KILLS} kills in {length} calls, seed {seed}: {', '.join(sorted(kinds))}")


def test_bucket_with_objects_of_others_stays(in_world: Target) -> None:
    project = in_world.location.project
    bucket = f"{project}_cloudbuild"
    rest.call("POST", f"{leftovers.STORAGE}/b", params={"project": project.id}, json={"name": bucket})
    upload = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
    run = f"{time.strftime('%Y%m%dt%H%M%S', time.gmtime(time.time() - 60))}-0a1b2c"
    for name in (f"source/{run}/1.tgz", "source/1700000000.0-abc.tgz"):
        rest.call("POST", upload, params={"uploadType": "media", "name": name}, data=b"x")
    (source,) = leftovers.find(in_world.location).found
    assert (source.kind, source.run) == ("build source", run)
    rest.call("DELETE", f"{leftovers.STORAGE}/b/{bucket}/o/source%2F1700000000.0-abc.tgz")
    assert {one.kind for one in leftovers.find(in_world.location, (run,)).found} == {"build source", "bucket"}
    wanted = real.Wanted(project.id, in_world.region, older_than="1h")
    said: list[str] = []
    # A minute is too young.
    real.clean(wanted, remove=True, as_json=False, say=said.append)
    assert "Left alone: " in said[0]
    named = real.Wanted(project.id, in_world.region, run=run, older_than="1h")
    assert real.clean(named, remove=False, as_json=False, say=said.append) == 0
    assert re.search(r"^build source .* 06, 07 *$", said[-1], re.MULTILINE), said[-1]
    assert real.clean(named, remove=True, as_json=False, say=said.append) == 0
    with pytest.raises(exceptions.NotFound):
        rest.call("GET", f"{leftovers.STORAGE}/b/{bucket}")


def test_age_is_a_number_and_a_unit() -> None:
    from cli.run.plans import BadRequest

    for text in ("", "1", "d", "-1d", "1y", "99999d"):
        with pytest.raises(BadRequest, match="is no age"):
            real.clean(
                real.Wanted("my-project", target.REGION, older_than=text), remove=False, as_json=False, say=print
            )
