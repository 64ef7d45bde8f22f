"""Run the workflows of events at the Git host, one at a time, and issue tokens for the jobs of the running one.

A workflow is read from the commit that was pushed. The workflow of a pull request from a fork gets no token, whatever
its permissions are: https://docs.github.com/en/actions/reference/security/oidc and …/secure-use.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

from sandbox.containers import EngineFailed, address
from sandbox.git_host import checks, git, repositories
from sandbox.git_host.events import Event
from sandbox.git_host.repositories import Repository
from sandbox.github_actions import PIPELINES_HOST, claims, expressions, store, workflow
from sandbox.github_actions.expressions import Facts
from sandbox.github_actions.job import Machine
from sandbox.github_actions.workflow import Job, Unsupported, Workflow
from sandbox.iam import issuers
from sandbox.state.schema import next_number
from sandbox.state.world import World

Json = dict[str, Any]

CUT_SHORT = "The sandbox was stopped while this run was going."
_SKIP = ("[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]")
log = logging.getLogger("sandbox")


class Runner:
    """The queue of one world's runs, and the thread that executes them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: queue.Queue[int] = queue.Queue()
        self._bearers: dict[str, tuple[Json, str]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, number: int) -> None:
        """Add a run to the queue."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="workflows")
                self._thread.start()
        self._waiting.put(number)

    def close(self) -> None:
        """Cancel the running run on shutdown. Queued runs resume at the next start."""
        self._stopping.set()
        self._waiting.put(0)
        if self._thread is not None:
            self._thread.join(timeout=10)

    def token(self, bearer: str, job: str, audience: str) -> str | None:
        """Return a token of GitHub's issuer for a running job, or None if the bearer is not that job's."""
        found = self._bearers.get(bearer)
        if found is None or found[0]["place"] != job:
            return None
        now = int(self._world.now().timestamp())
        return issuers.sign(self._world, claims.of(found[0], audience, found[1], now))

    def _work(self) -> None:
        while not self._stopping.is_set():
            number = self._waiting.get()
            if self._stopping.is_set():
                return
            try:
                self._execute(number)
            except Exception:
                log.exception("run %s failed", number)

    def _execute(self, number: int) -> None:
        run = next((one for one in store.unfinished(self._world) if one["id"] == number), None)
        repository = repositories.by_id(self._world, run["repository_id"]) if run else None
        if run is None or repository is None:
            return
        found = workflow.read(_text(self._world, repository, run["sha"], run["path"]), run["path"])
        self._save(run, status="in_progress")
        results: dict[str, Any] = {}
        for place, job in enumerate(found.jobs):
            results[job.id] = self._job(run, repository, found, place, job, results)
        failed = any(one["result"] == "failure" for one in results.values())
        self._save(run, status="completed", conclusion="failure" if failed else "success")

    def _save(self, run: Json, **changes: Any) -> None:
        run.update(changes)
        with self._world.writing(tick=False) as rows:
            store.save(rows, self._world, run)
            for job in run["jobs"]:
                shown = store.shown_job(run, job)
                body = {key: shown[key] for key in ("name", "status", "conclusion", "started_at", "completed_at")}
                body["details_url"] = shown["html_url"]
                checks.put(rows, run["repository_id"], run["sha"], "github-actions", str(job["id"]), body)

    def _job(
        self, run: Json, repository: Repository, found: Workflow, place: int, job: Job, results: Json
    ) -> dict[str, Any]:
        state = run["jobs"][place]
        facts: dict[str, Any] = {"needs": {one: results[one] for one in job.needs}, **_known(self._world, run)}
        facts |= {"steps": {}, "runner": {"os": "Linux", "temp": "/home/runner/work/_temp"}, "job": {}, "env": {}}
        failed = any(results[one]["result"] != "success" for one in job.needs)
        if not expressions.holds(job.condition, Facts(facts, failed)):
            state |= {"status": "completed", "conclusion": "skipped"}
            self._save(run)
            return {"result": "skipped", "outputs": {}}
        state |= {"status": "in_progress", "started_at": store.now(self._world)}
        self._save(run)
        bearer = secrets.token_urlsafe(32)
        path = store.log_file(self._world, state["id"])

        def write(text: str) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

        folder = repository.folder(self._world)
        machine = Machine(self._world, run, place, job, folder, {}, write, self._stopping, facts)
        machine.masks.append(bearer)
        good = False
        outputs: dict[str, str] = {}
        try:
            environment = expressions.fill(job.environment, Facts(facts))
            gets_token = job.id_token and not run["fork"]
            machine.base = self._variables(run, machine, state, found, bearer if gets_token else "")
            machine.start()
            if gets_token:
                self._bearers[bearer] = ({**run, "place": str(state["id"])}, environment)
            good = self._steps(run, state, job, machine)
            outputs = {key: expressions.fill(text, Facts(machine.facts)) for key, text in job.outputs.items()}
        except EngineFailed as error:
            machine.log(f"Error: the engine: {error}")
        except (expressions.BadExpression, git.GitFailed) as error:
            machine.log(f"Error: {error}")
            good = False
        finally:
            self._bearers.pop(bearer, None)
            machine.remove()
        if self._stopping.is_set():
            machine.log(f"Error: {CUT_SHORT}")
        state |= {"status": "completed", "conclusion": "success" if good else "failure"}
        state["completed_at"] = store.now(self._world)
        self._save(run)
        return {"result": state["conclusion"], "outputs": outputs}

    def _steps(self, run: Json, state: Json, job: Job, machine: Machine) -> bool:
        deadline = time.monotonic() + job.minutes * 60
        failed = False
        for step, shown in zip(job.steps, state["steps"], strict=True):
            facts = Facts({**machine.facts, "env": {**machine.base, **machine.env, **dict(job.env)}}, failed)
            if self._stopping.is_set() or not expressions.holds(step.condition, facts):
                shown |= {"status": "completed", "conclusion": "skipped"}
                continue
            shown |= {"status": "in_progress", "started_at": store.now(self._world)}
            self._save(run)
            machine.log(f"##[group]{shown['name']}")
            try:
                good, outputs = machine.run_step(step, deadline)
            except (expressions.BadExpression, git.GitFailed) as error:
                machine.log(f"Error: {error}")
                good, outputs = False, {}
            conclusion = "success" if good or step.continue_on_error else "failure"
            if step.id:
                outcome = "success" if good else "failure"
                machine.facts["steps"][step.id] = {"outputs": outputs, "outcome": outcome, "conclusion": conclusion}
            shown |= {"status": "completed", "conclusion": conclusion, "completed_at": store.now(self._world)}
            self._save(run)
            failed = failed or conclusion == "failure"
        return not failed

    def _variables(self, run: Json, machine: Machine, state: Json, found: Workflow, bearer: str) -> dict[str, str]:
        """Return the variables of every step. Those to request a token are set only with a bearer."""
        port = address(self._world).port
        github = {f"GITHUB_{key.upper()}": value for key, value in _github(run).items() if isinstance(value, str)}
        known = Facts(_known(self._world, run))
        env = {key: expressions.fill(text, known) for key, text in found.env.items()}
        variables = {
            **env,
            **github,
            "CI": "true",
            "HOME": "/home/runner",
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": f"http://localhost:{port}/api.github.com",
            "GITHUB_EVENT_PATH": "/runner/event.json",
            "GITHUB_JOB": state["key"],
            "GITHUB_WORKSPACE": machine.workspace,
            "RUNNER_OS": "Linux",
            "RUNNER_TEMP": "/home/runner/work/_temp",
        }
        if bearer:
            where = f"http://localhost:{port}/{PIPELINES_HOST}/{state['id']}/idtoken?api-version=2.0"
            variables |= {"ACTIONS_ID_TOKEN_REQUEST_URL": where, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bearer}
        return variables


def _known(world: World, run: Json) -> Json:
    """Return the contexts that do not change during a run."""
    return {
        "github": _github(run),
        "inputs": run["payload"].get("inputs", {}),
        "vars": store.variables(world, run["repository_id"]),
    }


def _github(run: Json) -> Json:
    """Return the context `github`."""
    owner = run["repository"].partition("/")[0]
    return {
        "actor": run["actor"],
        "base_ref": run["base_ref"],
        "event": run["payload"],
        "event_name": run["event"],
        "head_ref": run["head_ref"],
        "ref": run["ref"],
        "ref_name": run["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/").removeprefix("refs/pull/"),
        "ref_type": "tag" if run["ref"].startswith("refs/tags/") else "branch",
        "repository": run["repository"],
        "repository_owner": owner,
        "run_attempt": "1",
        "run_id": str(run["id"]),
        "run_number": str(run["number"]),
        "server_url": "https://github.com",
        "sha": run["sha"],
        "workflow": run["name"],
        "workflow_ref": f"{run['repository']}/{run['path']}@{run['ref']}",
        "workflow_sha": run["sha"],
    }


def _text(world: World, repository: Repository, sha: str, path: str) -> str:
    return (git.read(repository.folder(world), sha, path) or b"").decode("utf-8", "replace")


def _paths(world: World, repository: Repository, sha: str) -> Iterator[str]:
    for path in git.files(repository.folder(world), sha, f"{workflow.FOLDER}/"):
        if path.count("/") == 2 and path.endswith((".yml", ".yaml")):
            yield path


def on_event(world: World, event: Event) -> None:
    """Start a run of every workflow that an event triggers. The same event again starts no second run."""
    if event.new == git.ZERO or event.kind not in ("push", "pull_request"):
        return
    folder = event.repository.folder(world)
    pull = event.detail if event.kind == "pull_request" else {}
    sha = pull.get("head_sha", event.new)
    if event.kind == "push" and any(sign in git.commit(folder, sha).message for sign in _SKIP):
        return
    for path in _paths(world, event.repository, sha):
        try:
            found: Workflow | None = workflow.read(_text(world, event.repository, sha, path), path)
            problems: tuple[str, ...] = ()
        except Unsupported as refused:
            found, problems = None, refused.problems
        if found is not None and not _triggers(found, event, folder, sha):
            continue
        _start(world, event, path, found, problems, str(event.number))


def _triggers(found: Workflow, event: Event, folder: Any, sha: str) -> bool:
    wanted = found.events.get(event.kind)
    if wanted is None:
        return False
    if event.kind == "push":
        return wanted.matches(event.ref, git.changed(folder, event.old, event.new))
    base = git.resolve(folder, event.detail["base"])
    changed = git.changed(folder, git.merge_base(folder, base, sha), sha) if base else git.files(folder, sha)
    return wanted.matches(f"refs/heads/{event.detail['base']}", changed, event.detail["action"])


def _start(
    world: World, event: Event, path: str, found: Workflow | None, problems: tuple[str, ...], cause: str
) -> None:
    """Store a run and queue it. A run with problems has ended already.

    Args:
        cause: identifies the event. A workflow runs once for each cause.
    """
    repository, pull = event.repository, event.detail if event.kind == "pull_request" else {}
    sha = pull.get("head_sha", event.new)
    head = repositories.by_id(world, pull["head_repository"]) if pull else repository
    subject = git.commit(repository.folder(world), sha).message.partition("\n")[0]
    jobs: list[Json] = [
        {
            "key": job.id,
            "name": job.name,
            "status": "queued",
            "conclusion": None,
            "started_at": None,
            "completed_at": None,
            "steps": [
                {"name": step.name, "number": number + 1, "status": "queued", "conclusion": None}
                for number, step in enumerate(job.steps)
            ],
        }
        for job in (found.jobs if found else ())
    ]
    body: Json = {
        "name": found.name if found else path,
        "path": path,
        "repository": repository.full_name,
        "repository_id": repository.id,
        "visibility": "private" if repository.private else "public",
        "head_repository": head.full_name if head else repository.full_name,
        "fork": bool(pull) and pull["head_repository"] != repository.id,
        "event": event.kind,
        "ref": f"refs/pull/{pull['number']}/merge" if pull else event.ref,
        "sha": sha,
        "head_branch": pull["head"] if pull else event.ref.removeprefix("refs/heads/").removeprefix("refs/tags/"),
        "head_ref": pull.get("head", ""),
        "base_ref": pull.get("base", ""),
        "actor": event.actor,
        "title": pull.get("title") or subject,
        "payload": {"ref": event.ref, "before": event.old, "after": event.new, **event.detail},
        "problems": list(problems),
        "jobs": jobs,
        "status": "completed" if problems else "queued",
        "conclusion": "startup_failure" if problems else None,
    }
    with world.writing(tick=False) as rows:
        run = store.add(rows, world, cause, body)
    if run is not None and not problems:
        world.part(Runner).submit(run["id"])


def dispatch(world: World, repository: Repository, path: str, ref: str, given: Json, actor: str) -> None:
    """Start a workflow by hand.

    Raises:
        LookupError: if the default branch or the ref does not have the workflow.
        ValueError: if the workflow, the ref or an input is invalid, with GitHub's message where it is known.
    """
    folder = repository.folder(world)
    full = next((one for one in git.refs(folder) if one in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}")), "")
    sha = git.resolve(folder, full)
    if not sha:
        raise ValueError(f"No ref found for: {ref}")
    default = git.resolve(folder, git.run(folder, "symbolic-ref", "HEAD").decode().strip())
    # GitHub starts a workflow by hand only if the default branch has it.
    if not default or path not in _paths(world, repository, default) or path not in _paths(world, repository, sha):
        raise LookupError(path)
    try:
        found = workflow.read(_text(world, repository, sha, path), path)
    except Unsupported as refused:
        raise ValueError(str(refused)) from None
    if "workflow_dispatch" not in found.events:
        raise ValueError("Workflow does not have 'workflow_dispatch' trigger")
    if unknown := given.keys() - found.inputs.keys():
        raise ValueError(f"Unexpected inputs provided: {sorted(unknown)}")
    inputs = {}
    for name, one in found.inputs.items():
        value = given.get(name, one.default)
        value = {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value
        if not isinstance(value, str) or (one.required and not value) or (one.options and value not in one.options):
            raise ValueError(f"Provided value for input '{name}' is not valid")
        inputs[name] = value
    with world.writing(tick=False) as rows:
        number = next_number(rows, "workflow dispatches")
    event = Event(0, "workflow_dispatch", repository, full, sha, sha, actor, "", {"inputs": inputs})
    _start(world, event, path, found, (), f"dispatch {number}")


def recover(world: World) -> None:
    """Fail the runs that a crash interrupted, and queue those that have not started."""
    for run in store.unfinished(world):
        if run["status"] == "queued":
            world.part(Runner).submit(run["id"])
            continue
        for job in run["jobs"]:
            if job["status"] != "completed":
                job |= {"status": "completed", "conclusion": "failure", "completed_at": store.now(world)}
                with store.log_file(world, job["id"]).open("a", encoding="utf-8") as file:
                    file.write(f"Error: {CUT_SHORT}\n")
        run |= {"status": "completed", "conclusion": "failure"}
        with world.writing(tick=False) as rows:
            store.save(rows, world, run)
