"""Parse a workflow file. What the sandbox does not support is refused by name before anything runs.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.github_actions import actions, expressions
from sandbox.github_actions.patterns import Filter, problem

FOLDER = ".github/workflows"
EVENTS = ("pull_request", "push", "workflow_dispatch")
RUNNERS = ("ubuntu-latest", "ubuntu-22.04", "ubuntu-24.04")
SHELLS = ("bash", "sh")
_LIMIT = 128 * 1024  # characters of a file
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_FILTERS = {
    "push": ("branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"),
    "pull_request": ("branches", "branches-ignore", "paths", "paths-ignore", "types"),
}
_TYPES = ("opened", "synchronize", "reopened", "closed")
_MINUTES = 360
MOST_JOBS = 100
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = ("ACTIONS_", "GITHUB_", "RUNNER_")


class Unsupported(ValueError):
    """A workflow that cannot run. Each of `problems` is a sentence."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True)
class Step:
    """One step, which runs a script or uses an action."""

    id: str
    name: str
    condition: str
    run: str
    uses: str
    inputs: Mapping[str, str]
    shell: str
    folder: str
    env: Mapping[str, str]
    continue_on_error: bool
    minutes: int


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        id_token: whether it may request a token of GitHub's issuer.
    """

    id: str
    name: str
    needs: tuple[str, ...]
    condition: str
    id_token: bool
    environment: str
    env: Mapping[str, str]
    outputs: Mapping[str, str]
    minutes: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Input:
    """One input of `workflow_dispatch`. `options` are the values of a choice or a boolean."""

    required: bool
    default: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Workflow:
    """One workflow file.

    Attributes:
        events: the events that trigger it.
        inputs: its inputs when it is started by hand.
        jobs: in an order in which each follows the jobs that it needs.
    """

    path: str
    name: str
    events: Mapping[str, Filter]
    inputs: Mapping[str, Input]
    env: Mapping[str, str]
    jobs: tuple[Job, ...]


@dataclass
class _Reading:
    """Checks of values, which collect the problems found."""

    problems: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        self.problems.append(f"{where}: {what}" if where else what)

    def mapping(self, value: Any, where: str, known: Iterable[str] | None = None) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            self.add(where, "a mapping is expected")
            return {}
        if known is not None:
            for key in value.keys() - set(known):
                self.add(where, f"{key} is not something that the workbook's sandbox does")
        return value

    def text(self, value: Any, where: str) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str | int | float):
            self.add(where, "a text is expected")
            return ""
        return str(value)

    def expression(self, value: Any, where: str) -> str:
        text = self.text(value, where)
        try:
            expressions.check(text)
        except expressions.BadExpression as error:
            self.add(where, str(error))
        return text

    def condition(self, value: Any, where: str) -> str:
        text = self.text(value, where)
        try:
            if text.strip():
                expressions.check_condition(text)
        except expressions.BadExpression as error:
            self.add(where, str(error))
        return text

    def texts(self, value: Any, where: str) -> dict[str, str]:
        return {key: self.expression(one, f"{where}.{key}") for key, one in self.mapping(value, where).items()}

    def variables(self, value: Any, where: str) -> dict[str, str]:
        found = self.texts(value, where)
        for key in found:
            if not _VARIABLE.fullmatch(key) or key.startswith(_RESERVED):
                self.add(where, f"{key[:100]} is no name that a variable of a workflow may have")
        return found

    def names(self, value: Any, where: str) -> tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        return tuple(self.text(one, where) for one in listed if one is not None)

    def minutes(self, value: Any, where: str, default: int = _MINUTES) -> int:
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MINUTES:
            self.add(where, f"a number from 1 to {_MINUTES} is expected")
            return default
        return value


def read(text: str, path: str) -> Workflow:
    """Return the parsed workflow, or raise Unsupported with all its problems."""
    # Imported here because most sandboxes never need it, and it slows the start.
    import yaml  # type: ignore[import-untyped]

    if len(text) > _LIMIT:
        raise Unsupported([f"{path}: the file has more than {_LIMIT} characters"])
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise Unsupported([f"{path}: aliases of YAML are not something that the workbook's sandbox does"])
        body = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, Unsupported):
            raise
        mark = getattr(error, "problem_mark", None)
        at = f", line {mark.line + 1}" if mark else ""
        raise Unsupported([f"{path}{at}: this is no YAML"]) from None
    # In YAML 1.1, `on` means true.
    body = {"on" if key is True else key: value for key, value in body.items()} if isinstance(body, dict) else body
    reading = _Reading()
    found = reading.mapping(body, "", ("name", "on", "permissions", "env", "defaults", "concurrency", "jobs"))
    events = _events(reading, found.get("on"))
    inputs = _inputs(reading, found.get("on"))
    _one_at_a_time(reading, found.get("concurrency"), "concurrency")
    defaults = _defaults(reading, found.get("defaults"), "defaults")
    env = reading.variables(found.get("env"), "env")
    id_token = _id_token(reading, found.get("permissions"), "permissions")
    listed = reading.mapping(found.get("jobs"), "jobs")
    jobs = [_job(reading, name, one, id_token, defaults) for name, one in listed.items()]
    if not 0 < len(jobs) < MOST_JOBS:
        reading.add("jobs", f"a workflow has at least one job, and fewer than {MOST_JOBS}")
    ordered = _ordered(reading, jobs)
    if reading.problems:
        raise Unsupported(f"{path}: {one}" for one in reading.problems)
    return Workflow(path, reading.text(found.get("name"), "name") or path, events, inputs, env, ordered)


def _one_at_a_time(reading: _Reading, value: Any, where: str) -> None:
    """Check `concurrency:`. The sandbox always executes runs one after the other."""
    found = {} if isinstance(value, str) else reading.mapping(value, where, ("group", "cancel-in-progress"))
    if found.get("cancel-in-progress") not in (None, False):
        reading.add(where, "cancel-in-progress is not something that the workbook's sandbox does")


def _inputs(reading: _Reading, value: Any) -> dict[str, Input]:
    dispatch = value.get("workflow_dispatch") if isinstance(value, dict) else None
    listed = dispatch.get("inputs") if isinstance(dispatch, dict) else None
    found = {}
    for name, one in reading.mapping(listed, "on.workflow_dispatch.inputs").items():
        where = f"on.workflow_dispatch.inputs.{name}"
        about = reading.mapping(one, where, ("description", "required", "default", "type", "options"))
        kind = about.get("type", "string")
        if kind not in ("string", "boolean", "choice"):
            reading.add(where, f"an input of the type {kind} is not something that the workbook's sandbox does")
        options = {"boolean": ("true", "false"), "choice": reading.names(about.get("options"), where)}.get(kind, ())
        default = reading.text(about.get("default"), where)
        found[name] = Input(about.get("required") is True, default, options)
    return found


def _events(reading: _Reading, value: Any) -> dict[str, Filter]:
    if isinstance(value, str | list):
        value = dict.fromkeys(value if isinstance(value, list) else [value])
    listed_events = reading.mapping(value, "on", EVENTS)
    if not listed_events:
        reading.add("on", f"a workflow says what begins it: {', '.join(EVENTS)}")
    events = {}
    for name, one in listed_events.items():
        if name == "workflow_dispatch":
            reading.mapping(one, f"on.{name}", ("inputs",))
            events[name] = Filter({})
            continue
        lists = {
            key: reading.names(listed, f"on.{name}.{key}")
            for key, listed in reading.mapping(one, f"on.{name}", _FILTERS.get(name, ())).items()
        }
        for key in ("branches", "tags", "paths"):
            if key in lists and f"{key}-ignore" in lists:
                reading.add(f"on.{name}", f"{key} and {key}-ignore are not used together")
        for kind in set(lists.get("types", ())) - set(_TYPES):
            reading.add(f"on.{name}.types", f"{kind} is not something that the workbook's sandbox does")
        for key, patterns in lists.items():
            for pattern in patterns:
                if key != "types" and (wrong := problem(pattern)):
                    reading.add(f"on.{name}.{key}", wrong)
        events[name] = Filter(lists)
    return events


def _defaults(reading: _Reading, value: Any, where: str) -> dict[str, Any]:
    run = reading.mapping(value, where, ("run",)).get("run")
    return reading.mapping(run, f"{where}.run", ("shell", "working-directory"))


def _id_token(reading: _Reading, value: Any, where: str) -> bool:
    """Return whether `permissions:` has `id-token: write`. The others belong to GITHUB_TOKEN, which does not exist."""
    if isinstance(value, str):
        if value not in ("read-all", "write-all"):
            reading.add(where, "read-all, write-all or a mapping is expected")
        return value == "write-all"
    permissions = reading.mapping(value, where)
    for key, one in permissions.items():
        if one not in ("read", "write", "none"):
            reading.add(f"{where}.{key}", "read, write or none is expected")
    return permissions.get("id-token") == "write"


_JOB = ("name", "runs-on", "needs", "if", "permissions", "environment", "env", "outputs", "defaults", "concurrency")


def _job(reading: _Reading, name: str, value: Any, id_token: bool, above: Mapping[str, Any]) -> Job:
    where = f"jobs.{name}"
    if not _ID.fullmatch(name):
        reading.add(where, "a job's id is letters, digits, - and _")
    found = reading.mapping(value, where, (*_JOB, "timeout-minutes", "steps"))
    _one_at_a_time(reading, found.get("concurrency"), f"{where}.concurrency")
    runner = found.get("runs-on")
    if runner not in RUNNERS:
        reading.add(f"{where}.runs-on", f"{runner} is no runner that the workbook's sandbox has: {', '.join(RUNNERS)}")
    environment = found.get("environment")
    if isinstance(environment, dict):
        environment = reading.mapping(environment, f"{where}.environment", ("name",)).get("name")
    if "permissions" in found:
        id_token = _id_token(reading, found["permissions"], f"{where}.permissions")
    defaults = {**above, **_defaults(reading, found.get("defaults"), f"{where}.defaults")}
    listed = found.get("steps")
    if not isinstance(listed, list) or not listed:
        reading.add(f"{where}.steps", "a job has a list of steps")
        listed = []
    steps = tuple(_step(reading, f"{where}.steps[{number}]", one, defaults) for number, one in enumerate(listed))
    ids = [step.id for step in steps if step.id]
    for twice in {one for one in ids if ids.count(one) > 1}:
        reading.add(f"{where}.steps", f"the id {twice} is used twice")
    return Job(
        name,
        reading.expression(found.get("name"), f"{where}.name") or name,
        reading.names(found.get("needs"), f"{where}.needs"),
        reading.condition(found.get("if"), f"{where}.if"),
        id_token,
        reading.expression(environment, f"{where}.environment"),
        reading.variables(found.get("env"), f"{where}.env"),
        reading.texts(found.get("outputs"), f"{where}.outputs"),
        reading.minutes(found.get("timeout-minutes"), f"{where}.timeout-minutes"),
        steps,
    )


_STEP = ("id", "name", "if", "run", "uses", "with", "shell", "working-directory", "env", "continue-on-error")


def _step(reading: _Reading, where: str, value: Any, defaults: Mapping[str, Any]) -> Step:
    found = reading.mapping(value, where, (*_STEP, "timeout-minutes"))
    run, uses = reading.expression(found.get("run"), f"{where}.run"), reading.text(found.get("uses"), f"{where}.uses")
    if bool(run) == bool(uses):
        reading.add(where, "a step has either run or uses")
    inputs = reading.texts(found.get("with"), f"{where}.with")
    if uses:
        for one in actions.problems(uses, inputs):
            reading.add(where, one)
        for key in ("shell", "working-directory"):
            if key in found:
                reading.add(where, f"{key} belongs to a step with run")
    elif inputs:
        reading.add(where, "with belongs to a step with uses")
    shell = reading.text(found.get("shell", defaults.get("shell")), f"{where}.shell")
    if shell and shell not in SHELLS:
        reading.add(f"{where}.shell", f"{shell} is no shell that the workbook's sandbox has: {', '.join(SHELLS)}")
    name = reading.text(found.get("id"), f"{where}.id")
    if name and not _ID.fullmatch(name):
        reading.add(f"{where}.id", "an id is letters, digits, - and _")
    continue_on_error = found.get("continue-on-error", False)
    if not isinstance(continue_on_error, bool):
        reading.add(f"{where}.continue-on-error", "true or false is expected")
    first = next(iter(run.strip().splitlines()), "")
    return Step(
        name,
        reading.expression(found.get("name"), f"{where}.name") or f"Run {uses or first}"[:200],
        reading.condition(found.get("if"), f"{where}.if"),
        run,
        uses,
        inputs,
        shell,
        reading.expression(found.get("working-directory", defaults.get("working-directory")), f"{where}.folder"),
        reading.variables(found.get("env"), f"{where}.env"),
        bool(continue_on_error),
        reading.minutes(found.get("timeout-minutes"), f"{where}.timeout-minutes"),
    )


def _ordered(reading: _Reading, jobs: list[Job]) -> tuple[Job, ...]:
    ordered: list[Job] = []
    waiting = list(jobs)
    for job in jobs:
        for missing in set(job.needs) - {one.id for one in jobs}:
            reading.add(f"jobs.{job.id}.needs", f"there is no job {missing}")
            return tuple(jobs)
    while waiting:
        ready = [job for job in waiting if set(job.needs) <= {one.id for one in ordered}]
        if not ready:
            reading.add("jobs", f"jobs need each other in a circle: {', '.join(job.id for job in waiting)}")
            return tuple(jobs)
        ordered += ready
        waiting = [job for job in waiting if job not in ready]
    return tuple(ordered)
