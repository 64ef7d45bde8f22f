"""One build from QUEUED to its end: fetch the source, run the steps, push the images.

Source: facts/artifact-registry.md section 5; the log's lines are Cloud Build's. # unverified: those after a failure
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from sandbox import containers, objects, tokens
from sandbox.builds import builders, plan, source, store, validation
from sandbox.builds.log import BuildLog
from sandbox.clock import timestamp
from sandbox.containers import EngineFailed
from sandbox.world import World

_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")
_KILLED = 137
DISK_BYTES = 4 * 1024**3  # a step's container and its workspace together; Google's machines have 100 GB
_LOOK_SECONDS = 2.0
_CANCEL_SECONDS = 1.5

log = logging.getLogger("sandbox")


class BuildFailed(Exception):
    """The build ends here.

    Args:
        status: of the build.
        kind: `failureInfo.type`, or empty.
        detail: `statusDetail`.
    """

    def __init__(self, status: str, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail


class Job:
    """Runs one build; `cancel` may be called from another thread."""

    def __init__(self, world: World, build: dict[str, Any]) -> None:
        self.world = world
        self.build = build
        self._cancelled = threading.Event()
        # Set when no step may go on: after a cancellation, and after a failure.
        self._stopping = threading.Event()
        self._cleared = threading.Event()
        self._lock = threading.Lock()
        self._labels = (containers.label(world), f"workbook-build={build['id']}")
        self._place: builders.Place | None = None
        self._config = world.folder / "builders" / build["id"]

    def cancel(self, status: str = "CANCELLED") -> None:
        """Stop the build: its containers are killed, its status is `status` when this returns."""
        with self._lock:
            if self.build["status"] not in store.RUNNING:
                return
            working = self.build["status"] == "WORKING"
            self.build["status"] = status
            self.build["finishTime"] = self._now()
            if status == "INTERNAL_ERROR":
                self.build["statusDetail"] = "the sandbox was stopped while this build ran"
            self._save()
        self._cancelled.set()
        self._stopping.set()
        with contextlib.suppress(EngineFailed):
            containers.remove_all([self._labels[1]])
        if working:
            # A container that was just being made is ended by its step.
            self._cleared.wait(_CANCEL_SECONDS)

    def run(self) -> None:
        """Run to the end; never raises."""
        with self._lock:
            if self.build["status"] != "QUEUED":
                return
            self.build |= {"status": "WORKING", "startTime": self._now()}
            self._save()
        logging_mode = self.build["options"].get("logging", "LEGACY")
        told = BuildLog(
            self.world,
            self.build,
            store.log_file(self.world, self.build["id"]),
            to_file=logging_mode in ("LEGACY", "GCS_ONLY", "LOGGING_UNSPECIFIED"),
            to_logging=logging_mode in ("LEGACY", "CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "LOGGING_UNSPECIFIED"),
            hidden=self._hidden(),
        )
        try:
            self._run(told)
            end, failure = "SUCCESS", None
        except BuildFailed as stopped:
            end, failure = stopped.status, stopped
        except EngineFailed as error:
            end, failure = "INTERNAL_ERROR", BuildFailed("INTERNAL_ERROR", "", f"the engine: {error}")
        except Exception as error:
            log.exception("build %s failed", self.build["id"])
            end, failure = "INTERNAL_ERROR", BuildFailed("INTERNAL_ERROR", "", f"internal error: {error}")
        # Whoever sees that the build has ended finds nothing of it on the engine.
        self._clear()
        self._cleared.set()
        self._finish(told, end, failure)

    def _hidden(self) -> str:
        with contextlib.suppress(EngineFailed):
            return f"{containers.address(self.world).registry}/"
        return ""

    def _now(self) -> str:
        return timestamp(self.world.now())

    def _save(self) -> None:
        store.save(self.world, self.build)

    def _finish(self, told: BuildLog, end: str, failure: BuildFailed | None) -> None:
        if self._cancelled.is_set():
            told.line("CANCELLED")
            told.line("ERROR: context canceled")
        elif failure is None:
            told.line("DONE")
        else:
            told.line("TIMEOUT" if end == "TIMEOUT" else "ERROR")
            told.line(f"ERROR: {failure.detail}")
        told.flush()
        with self._lock:
            if self.build["status"] not in store.RUNNING:
                return
            self.build |= {"status": end, "finishTime": self._now()}
            if failure is not None:
                self.build["statusDetail"] = failure.detail
                if failure.kind:
                    step = failure.kind == "USER_BUILD_STEP"
                    kind = "Build step failure" if step else "Build failure"
                    self.build["failureInfo"] = {"type": failure.kind, "detail": f"{kind}: {failure.detail}"}
            self._save()

    def _clear(self) -> None:
        with contextlib.suppress(EngineFailed):
            containers.remove_all([self._labels[1]])
        shutil.rmtree(self._config, ignore_errors=True)

    def _run(self, told: BuildLog) -> None:
        deadline = time.monotonic() + validation.seconds(self.build.get("timeout"), validation.DEFAULT_TIMEOUT)
        address = containers.address(self.world)
        account = self.build["serviceAccount"].rpartition("/")[2]
        token = tokens.mint(self.world, f"serviceAccount:{account}", tick=False)
        shim = builders.prepare_tools(self.world)
        containers.write_config(self._config, address.registry, token)
        network = "none"
        if builders.cloudbuild_is_named(self.build["steps"]):
            network = containers.make_network(f"cloudbuild-{self.build['id'][:8]}", *self._labels)
        self._place = builders.Place(
            self.build["id"],
            self.build["projectId"],
            self._labels,
            network,
            address,
            shim,
            self.world.folder.parent / "ca" / "bundle.pem",
        )
        told.line(f'starting build "{self.build["id"]}"')
        told.line("")
        told.line("FETCHSOURCE")
        with self._timed("FETCHSOURCE"):
            self._fetch(told, token)
        told.line("BUILD")
        with self._timed("BUILD"):
            self._steps(told, deadline)
        images = [*self.build.get("images", ()), *self.build.get("artifacts", {}).get("images", ())]
        if images:
            told.line("PUSH")
            with self._timed("PUSH"):
                self._push(told, list(dict.fromkeys(images)))

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Any:
        started = self._now()
        try:
            yield
        finally:
            self.build.setdefault("timing", {})[phase] = {"startTime": started, "endTime": self._now()}

    def _fetch(self, told: BuildLog, token: str) -> None:
        """The workspace and the account's home: volumes, filled through a container that never runs."""
        assert self._place is not None  # noqa: S101 - set by _run
        content = b""
        resolved = self.build.get("sourceProvenance", {}).get("resolvedStorageSource")
        if resolved:
            name = f"gs://{resolved['bucket']}/{resolved['object']}#{resolved['generation']}"
            told.line(f"Fetching storage object: {name}")
            with self.world.reading() as rows:
                stored = objects.find(rows, resolved["bucket"], resolved["object"])
            if stored is None or str(stored.generation) != str(resolved["generation"]):
                raise BuildFailed("FAILURE", "FETCH_SOURCE_FAILED", f"could not fetch source: {name} not found")
            try:
                content = source.clean(stored.path(self.world))
            except source.BadSource as error:
                raise BuildFailed("FAILURE", "FETCH_SOURCE_FAILED", f"could not fetch source: {error}") from None
        base = containers.base_image()
        if not base:
            raise EngineFailed("no base image is there to build with; `workbook setup` makes one")
        for volume in (self._place.workspace, self._place.home):
            containers.call("volume", "create", *self._labelled(), volume)
        holder = f"workbook-{self._place.short}-source"
        mounts = ["--volume", f"{self._place.workspace}:/workspace", "--volume", f"{self._place.home}:/builder/home"]
        containers.call("create", "--name", holder, *self._labelled(), *mounts, base, "true")
        if content:
            containers.call("cp", "-", f"{holder}:/workspace", stdin=content, seconds=300)
        containers.call("cp", "-", f"{holder}:/builder/home", stdin=self._home(token))
        for name in sorted(self._volumes()):
            containers.call("volume", "create", *self._labelled(), self._place.volume(name))

    def _volumes(self) -> set[str]:
        named = [*self.build["options"].get("volumes", ())]
        for step in self.build["steps"]:
            named += step.get("volumes", ())
        return {volume["name"] for volume in named}

    def _labelled(self) -> list[str]:
        return [part for text in self._labels for part in ("--label", text)]

    def _home(self, token: str) -> bytes:
        """/builder/home with docker's configuration and the token that gcloud reads."""
        out = io.BytesIO()
        files = {".docker/config.json": (self._config / "config.json").read_bytes(), ".access-token": token.encode()}
        with tarfile.open(fileobj=out, mode="w") as target:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o600
                target.addfile(member, io.BytesIO(content))
        return out.getvalue()

    def _steps(self, told: BuildLog, deadline: float) -> None:
        steps = self.build["steps"]
        graph = plan.waits(steps)
        started: set[int] = set()
        ended: set[int] = set()
        failures: list[BuildFailed] = []
        changed = threading.Condition()
        threads: list[threading.Thread] = []

        def work(number: int) -> None:
            failure: BuildFailed | None = None
            try:
                self._step(told, number, deadline)
            except BuildFailed as stopped:
                failure = stopped
            except Exception as error:
                log.exception("step %s of build %s failed", number, self.build["id"])
                failure = BuildFailed("INTERNAL_ERROR", "", f"build step {number}: {error}")
            with changed:
                if failure is not None:
                    failures.append(failure)
                ended.add(number)
                changed.notify_all()

        with changed:
            while len(ended) < len(steps) and not failures and not self._cancelled.is_set():
                for number in plan.ready(graph, started, ended):
                    started.add(number)
                    threads.append(threading.Thread(target=work, args=(number,), daemon=True))
                    threads[-1].start()
                changed.wait(0.2)
        if failures:
            self._stopping.set()
        for thread in threads:
            thread.join()
        if self._cancelled.is_set():
            raise BuildFailed("CANCELLED", "", "context canceled")
        if failures:
            raise failures[0]

    def _kill(self, number: int) -> None:
        assert self._place is not None  # noqa: S101 - set by _run
        with contextlib.suppress(EngineFailed):
            containers.call("kill", self._place.container(number))

    def _step(self, told: BuildLog, number: int, deadline: float) -> None:
        assert self._place is not None  # noqa: S101 - set by _run
        step = self.build["steps"][number]
        alone = len(self.build["steps"]) == 1
        title = f"Step #{number}" + (f' - "{step["id"]}"' if step.get("id") else "")
        say: Callable[[str], None] = told.line if alone else lambda text: told.line(f"{title}: {text}")
        if not alone:
            told.line(f"Starting {title}")
        self._mark(step, "WORKING")
        begun = self._now()
        try:
            builder = builders.resolve(step["name"], self._place.address, self._config)
        except EngineFailed as error:
            self._mark(step, "FAILURE")
            detail = f'build step {number} "{step["name"]}" failed: error pulling build step: {error}'
            raise BuildFailed("FAILURE", "USER_BUILD_STEP", detail) from None
        step["pullTiming"] = {"startTime": begun, "endTime": self._now()}
        for text in builder.says:
            say(text)
        own = validation.seconds(step.get("timeout"))
        until = min(deadline, time.monotonic() + own) if own else deadline
        code, late = self._container(number, builder, step, say, until)
        step["timing"] = {"startTime": begun, "endTime": self._now()}
        self._judge(step, number, code, late=late)
        if not alone:
            told.line(f"Finished {title}")
        told.flush()

    def _container(
        self, number: int, builder: builders.Builder, step: Mapping[str, Any], say: Callable[[str], None], until: float
    ) -> tuple[int, bool]:
        """The step's exit code, and whether its time was over."""
        assert self._place is not None  # noqa: S101 - set by _run
        if self._stopping.is_set():
            return _KILLED, False
        process = containers.start(
            builders.arguments(self._place, number, step, self.build["options"], builder), self._config
        )
        late, over = threading.Event(), threading.Event()
        for target, arguments in (
            (self._watch_disk, (number, over, say)),
            (self._watch_time, (number, over, late, until)),
        ):
            threading.Thread(target=target, args=arguments, daemon=True).start()
        try:
            assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
            with process.stdout:
                for line in process.stdout:
                    say(line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2])
            return self._exit(process), late.is_set()
        finally:
            over.set()

    def _watch_time(self, number: int, over: threading.Event, late: threading.Event, until: float) -> None:
        """End a step when its time is up or the build stops; again and again, for it may only be starting."""
        while not over.is_set():
            if self._stopping.wait(min(max(until - time.monotonic(), 0.05), 0.25)) or time.monotonic() >= until:
                if not self._stopping.is_set():
                    late.set()
                self._kill(number)
                over.wait(0.05)

    def _watch_disk(self, number: int, over: threading.Event, say: Callable[[str], None]) -> None:
        """End a step whose container or workspace grows too large; there is no such limit in the engine itself."""
        assert self._place is not None  # noqa: S101 - set by _run
        name = self._place.container(number)
        while not over.wait(_LOOK_SECONDS):
            with contextlib.suppress(EngineFailed, ValueError, IndexError):
                used = 1024 * int(containers.call("exec", name, "du", "-sk", "/workspace").split()[0])
                used += containers.written(name)
                if used > DISK_BYTES:
                    say(f"The step is ended: it has written {used} bytes, and the sandbox has room for {DISK_BYTES}.")
                    self._kill(number)
                    return

    @staticmethod
    def _exit(process: subprocess.Popen[bytes]) -> int:
        code = process.wait()
        return _KILLED if code < 0 else code

    def _judge(self, step: dict[str, Any], number: int, code: int, *, late: bool) -> None:
        where = f'build step {number} "{step["name"]}" failed'
        if self._cancelled.is_set():
            self._mark(step, "CANCELLED")
            raise BuildFailed("CANCELLED", "", "context canceled")
        if self._stopping.is_set():
            self._mark(step, "CANCELLED")
            raise BuildFailed("FAILURE", "USER_BUILD_STEP", f"{where}: another step failed")
        if late:
            self._mark(step, "TIMEOUT")
            raise BuildFailed("TIMEOUT", "", f"{where}: context deadline exceeded")
        if code != 0:
            step["exitCode"] = code
        if code == 0 or code in step.get("allowExitCodes", ()):
            self._mark(step, "SUCCESS")
            return
        self._mark(step, "FAILURE")
        if not step.get("allowFailure"):
            raise BuildFailed("FAILURE", "USER_BUILD_STEP", f"{where}: step exited with non-zero status: {code}")

    def _mark(self, step: dict[str, Any], status: str) -> None:
        with self._lock:
            step["status"] = status
            self._save()

    def _push(self, told: BuildLog, images: list[str]) -> None:
        assert self._place is not None  # noqa: S101 - set by _run
        registry = self._place.address.registry
        missing = [image for image in images if not containers.has_image(f"{registry}/{image}")]
        if missing:
            named = " ".join(f'"{image}"' for image in missing)
            raise BuildFailed(
                "FAILURE",
                "PUSH_IMAGE_NOT_FOUND",
                f"failed to find one or more images after execution of build steps: [{named}]",
            )
        pushed = []
        for image in images:
            begun = self._now()
            told.line(f"Pushing {image}")
            output: list[str] = []
            process = containers.start(["push", f"{registry}/{image}"], self._config)
            assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
            with process.stdout:
                for line in process.stdout:
                    output.append(line.decode("utf-8", "replace").rstrip("\r\n").rpartition("\r")[2])
                    told.line(output[-1])
            code = self._exit(process)
            if self._cancelled.is_set():
                raise BuildFailed("CANCELLED", "", "context canceled")
            if code != 0:
                denied = any("denied" in text for text in output)
                raise BuildFailed(
                    "FAILURE",
                    "PUSH_NOT_AUTHORIZED" if denied else "PUSH_FAILED",
                    f'error pushing image "{image}": step exited with non-zero status: {code}',
                )
            digest = _DIGEST.search("\n".join(output))
            timing = {"startTime": begun, "endTime": self._now()}
            pushed.append({"name": image, "digest": digest[1] if digest else "", "pushTiming": timing})
        self.build["results"] = {
            "images": pushed,
            "buildStepImages": [],
            "buildStepOutputs": [],
        }
