"""Run the steps of one job in a container that they share, as they share a machine on GitHub.

Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands and …/variables.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import containers
from sandbox.cloud_build import builders
from sandbox.containers import EngineFailed
from sandbox.git_host import git
from sandbox.github_actions import actions, expressions
from sandbox.github_actions.expressions import Facts
from sandbox.github_actions.workflow import Job, Step
from sandbox.redaction import redact
from sandbox.state.world import World

_HOME, _TEMP = "/home/runner", "/home/runner/work/_temp"
_FILES = {"GITHUB_ENV": "env", "GITHUB_OUTPUT": "output", "GITHUB_PATH": "path", "GITHUB_STEP_SUMMARY": "summary"}
_SCRIPTS = {
    actions.AUTH: "action_auth.py",
    actions.SETUP: "action_setup_gcloud.py",
    actions.LOGIN: "action_docker_login.py",
}
_COMMAND = re.compile(r"::(?P<name>add-mask|error|warning|notice|group|endgroup|debug)(?: [^:]*)?::(?P<text>.*)")
_SHELLS = {"": ("bash", "-e"), "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail"), "sh": ("sh", "-e")}
# Set in a build step's container. A workflow gets them from its actions instead.
_OMITTED = ("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "CLOUDSDK_CORE_PROJECT")
_RESERVED = ("GITHUB_", "RUNNER_", "ACTIONS_")
_LOG = 4 * 1024 * 1024  # characters of one job's log


@dataclass
class Machine:
    """The container of one job.

    Attributes:
        run: the run as `store` keeps it.
        job: the job's definition in the workflow.
        folder: the bare repository that has the commit.
        base: the variables of every step.
        write: writes a line to the log.
        stopping: set when the run has to end.
    """

    world: World
    run: Mapping[str, Any]
    number: int
    job: Job
    folder: Path
    base: Mapping[str, str]
    write: Callable[[str], None]
    stopping: threading.Event
    facts: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    written: int = 0

    @property
    def name(self) -> str:
        """The container's name."""
        return f"workbook-{containers.world_id(self.world)}-actions-{self.run['id']}-{self.number}"

    @property
    def workspace(self) -> str:
        """The folder in which steps start. As on GitHub, it has the repository's name twice."""
        name = self.run["repository"].rpartition("/")[2]
        return f"{_HOME}/work/{name}/{name}"

    def log(self, text: str) -> None:
        """Add a line to the log, with secrets masked."""
        for mask in self.masks:
            text = text.replace(mask, "***")
        if self.written < _LOG:
            self.written += len(text) + 1
            self.write(redact(text) if self.written < _LOG else "The log is full: the sandbox keeps 4 MiB of it.")

    def start(self) -> None:
        """Create the container.

        Raises:
            EngineFailed: if the engine does not answer, or has no base image.
        """
        image = containers.base_image()
        if not image:
            raise EngineFailed("no base image is there for a runner; `workbook setup` makes one")
        labels = (containers.label(self.world), f"workbook-actions={self.run['id']}")
        place = builders.Place(
            f"r{self.run['id']}j{self.number}",
            containers.world_id(self.world),
            "",
            labels,
            "host",
            containers.address(self.world),
            builders.prepare_tools(self.world),
            self.world.folder.parent / "ca" / "bundle.pem",
        )
        mounts, variables = builders.tools(place)
        arguments = ["run", "--detach", "--init", "--name", self.name]
        for text in labels:
            arguments += ["--label", text]
        arguments += [*containers.limits(builders.MEMORY, builders.PIDS), "--ulimit", f"fsize={builders.FILE_BYTES}"]
        for key, value in variables.items():
            if key not in _OMITTED:
                arguments += ["--env", f"{key}={value}"]
        containers.call(*arguments, *mounts, "--entrypoint", "sleep", image, "infinity")
        files = {name: Path(__file__).with_name(name).read_bytes() for name in _SCRIPTS.values()}
        files["event.json"] = json.dumps(self.run["payload"]).encode()
        self._copy({f"runner/{name}": content for name, content in files.items()})
        self._exec("mkdir", "-p", self.workspace, _TEMP, f"{_HOME}/.config", "/builder/home")
        self.log(f"{image} stands in for the runner of the workflow")

    def remove(self) -> None:
        """Remove the container, if it still exists."""
        with contextlib.suppress(EngineFailed):
            containers.remove_all((containers.label(self.world), f"workbook-actions={self.run['id']}"))

    def _exec(self, *arguments: str, stdin: bytes | None = None) -> str:
        options = ["--interactive"] if stdin is not None else []
        return containers.call("exec", *options, self.name, *arguments, stdin=stdin)

    def _copy(self, files: Mapping[str, bytes]) -> None:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as target:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o600
                target.addfile(member, io.BytesIO(content))
        containers.call("cp", "-", f"{self.name}:/", stdin=out.getvalue())

    def run_step(self, step: Step, deadline: float) -> tuple[bool, dict[str, str]]:
        """Run one step. Return whether it succeeded, and its outputs.

        Raises:
            EngineFailed: if the engine does not answer.
            expressions.BadExpression: if an expression cannot be evaluated.
        """
        self.facts["env"] = {**self.base, **self.env, **dict(self.job.env)}
        facts = Facts(self.facts)
        env = {key: expressions.fill(text, facts) for key, text in {**self.job.env, **step.env}.items()}
        self.facts["env"] = {**self.facts["env"], **env}
        until = min(deadline, time.monotonic() + step.minutes * 60)
        if step.uses.startswith(f"{actions.CHECKOUT}@"):
            self._check_out()
            return True, {}
        if step.uses:
            given = {key: expressions.fill(text, facts) for key, text in step.inputs.items()}
            wrong = actions.problems(step.uses, given)
            if wrong:
                self.log(f"Error: {wrong[0]}")
                return False, {}
            inputs = {f"INPUT_{key.upper()}": text for key, text in actions.inputs(step.uses, given).items()}
            script = f"exec python3 -I /runner/{_SCRIPTS[step.uses.partition('@')[0]]}\n"
            return self._run_script(script, ("bash", "-e"), {**env, **inputs}, "", until)
        text = expressions.fill(step.run, facts)
        for line in text.strip().splitlines():
            self.log(line)
        folder = expressions.fill(step.folder, facts)
        return self._run_script(text, _SHELLS[step.shell], env, folder, until)

    def _check_out(self) -> None:
        url = f"https://github.com/{self.run['repository']}.git"
        with tempfile.TemporaryDirectory(dir=self.world.folder) as folder:
            target = Path(folder) / "copy"
            for line in git.check_out(self.folder, url, self.run["sha"], target):
                self.log(line.replace("/workspace", self.workspace))
            packed = Path(folder) / "copy.tar"
            with tarfile.open(packed, "w") as archive:
                archive.add(target, arcname=".", filter=_owned)
            with packed.open("rb") as content:
                containers.call("cp", "-", f"{self.name}:{self.workspace}", stdin=content, seconds=300)

    def _run_script(
        self, script: str, shell: tuple[str, ...], env: Mapping[str, str], folder: str, until: float
    ) -> tuple[bool, dict[str, str]]:
        variables = {**self.base, **self.env, **env, **{key: f"{_TEMP}/{name}" for key, name in _FILES.items()}}
        lines = [f"export {key}={shlex.quote(value)}" for key, value in variables.items()]
        if self.paths:
            lines.append(f"export PATH={shlex.quote(':'.join(reversed(self.paths)))}:$PATH")
        where = folder if folder.startswith("/") else f"{self.workspace}/{folder}".rstrip("/")
        # In a file, because variables may be secrets and other users of this machine can read command lines.
        lines += [f"cd {shlex.quote(where)} || exit 1", f"exec {shlex.join(shell)} {_TEMP}/step.sh"]
        files = {f"{_TEMP[1:]}/{name}": b"" for name in _FILES.values()}
        files |= {f"{_TEMP[1:]}/step.sh": script.encode(), f"{_TEMP[1:]}/start.sh": "\n".join(lines).encode()}
        self._copy(files)
        process = containers.start(["exec", self.name, "sh", f"{_TEMP}/start.sh"])
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(process, over, until), daemon=True)
        watch.start()
        assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
        with process.stdout:
            for line in process.stdout:
                self._line(line.decode("utf-8", "replace").rstrip("\r\n"))
        code = process.wait()
        over.set()
        watch.join()
        if self.stopping.is_set() or time.monotonic() >= until:
            self.log("Error: The operation was canceled.")
            return False, {}
        if code != 0:
            self.log(f"Error: Process completed with exit code {code}.")
        self.env |= self._pairs("GITHUB_ENV")
        self.paths += self._read("GITHUB_PATH").splitlines()
        return code == 0, self._pairs("GITHUB_OUTPUT")

    def _watch(self, process: subprocess.Popen[bytes], over: threading.Event, until: float) -> None:
        while not over.is_set():
            if self.stopping.wait(min(max(until - time.monotonic(), 0.05), 0.25)) or time.monotonic() >= until:
                with contextlib.suppress(EngineFailed):
                    containers.call("kill", self.name)
                process.terminate()
                over.wait(0.05)

    def _line(self, text: str) -> None:
        match = _COMMAND.match(text)
        if match is None:
            self.log(text)
        elif match["name"] == "add-mask":
            if match["text"].strip():
                self.masks.append(match["text"].strip())
        elif match["name"] not in ("endgroup", "debug"):
            title = {"error": "Error: ", "warning": "Warning: ", "notice": "Notice: "}.get(match["name"], "")
            self.log(title + match["text"].replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%"))

    def _read(self, variable: str) -> str:
        try:
            return self._exec("cat", f"{_TEMP}/{_FILES[variable]}")
        except EngineFailed:
            return ""

    def _pairs(self, variable: str) -> dict[str, str]:
        """Read `name=value` lines and `name<<END` blocks."""
        found: dict[str, str] = {}
        lines = iter(self._read(variable).splitlines())
        for line in lines:
            name, sign, value = line.partition("=")
            block, mark, end = line.partition("<<")
            if mark and (not sign or len(block) < len(name)):
                held = []
                for inner in lines:
                    if inner == end:
                        break
                    held.append(inner)
                name, value = block, "\n".join(held)
            elif not sign:
                continue
            if re.fullmatch(r"[A-Za-z_][\w-]*", name):
                found[name] = value
        return {key: value for key, value in found.items() if variable != "GITHUB_ENV" or not key.startswith(_RESERVED)}


def _owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
