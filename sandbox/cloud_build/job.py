"""Run one build: fetch its source, run its steps in their order, push its images.

Source: facts/artifact-registry.md section 5. The log's lines are Cloud Build's. # unverified: those after a failure
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from typing import Any

from sandbox import containers
from sandbox.artifact_analysis import provenance
from sandbox.cloud_build import builders, plan, pushing, step, store, validation, workspace
from sandbox.cloud_build.log import BuildLog
from sandbox.cloud_build.running import BuildFailed, Running
from sandbox.containers import EngineFailed
from sandbox.iam import tokens
from sandbox.state.clock import timestamp
from sandbox.state.world import World

_CANCEL_SECONDS = 1.5

log = logging.getLogger("sandbox")


class Job:
    """Run one build. `cancel` may be called from another thread."""

    def __init__(self, world: World, build: dict[str, Any]) -> None:
        self.world = world
        self.build = build
        self._cancelled = threading.Event()
        self._stopping = threading.Event()
        self._cleared = threading.Event()
        self._lock = threading.Lock()
        self._labels = (containers.label(world), f"workbook-build={build['id']}")
        self._config = world.folder / "builders" / build["id"]

    @property
    def account(self) -> str:
        """The e-mail address of the account that the build runs as."""
        return str(self.build["serviceAccount"].rpartition("/")[2])

    def cancel(self, status: str = "CANCELLED", detail: str = "") -> None:
        """Kill the build's containers and set its status, which has changed when this returns."""
        with self._lock:
            if self.build["status"] not in store.RUNNING:
                return
            working = self.build["status"] == "WORKING"
            self.build["status"] = status
            self.build["finishTime"] = self._now()
            if detail:
                self.build["statusDetail"] = detail
            self._save()
        self._cancelled.set()
        self._stopping.set()
        with contextlib.suppress(EngineFailed):
            containers.remove_all(self._labels)
        if working:
            # The step itself ends a container that was just being created.
            self._cleared.wait(_CANCEL_SECONDS)

    def run(self) -> None:
        """Run the build to its end. Never raise."""
        with self._lock:
            if self.build["status"] != "QUEUED":
                return
            self.build |= {"status": "WORKING", "startTime": self._now()}
            self._save()
        logging_mode = self.build["options"].get("logging", "LEGACY")
        build_log = BuildLog(
            self.world,
            self.build,
            store.log_file(self.world, self.build["id"]),
            to_file=logging_mode in ("LEGACY", "GCS_ONLY", "LOGGING_UNSPECIFIED"),
            to_logging=logging_mode in ("LEGACY", "CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "LOGGING_UNSPECIFIED"),
            hidden=self._hidden(),
        )
        try:
            self._run(build_log)
            end, failure = "SUCCESS", None
        except BuildFailed as stopped:
            end, failure = stopped.status, stopped
        except EngineFailed as error:
            end, failure = "INTERNAL_ERROR", BuildFailed("INTERNAL_ERROR", "", f"the engine: {error}")
        except Exception as error:
            log.exception("build %s failed", self.build["id"])
            end, failure = "INTERNAL_ERROR", BuildFailed("INTERNAL_ERROR", "", f"internal error: {error}")
        # Before the status changes, so that an ended build has nothing left on the engine.
        self._clear()
        self._cleared.set()
        self._finish(build_log, end, failure)

    def _hidden(self) -> str:
        with contextlib.suppress(EngineFailed):
            return f"{containers.address(self.world).registry}/"
        return ""

    def _now(self) -> str:
        return timestamp(self.world.now())

    def _save(self) -> None:
        store.save(self.world, self.build)

    def _finish(self, build_log: BuildLog, end: str, failure: BuildFailed | None) -> None:
        if self._cancelled.is_set():
            build_log.line("CANCELLED")
            build_log.line(f"ERROR: {self.build.get('statusDetail') or 'context canceled'}")
        elif failure is None:
            build_log.line("DONE")
        else:
            build_log.line("TIMEOUT" if end == "TIMEOUT" else "ERROR")
            build_log.line(f"ERROR: {failure.detail}")
        build_log.flush()
        with self._lock:
            if self.build["status"] not in store.RUNNING:
                return
            self.build |= {"status": end, "finishTime": self._now()}
            if failure is not None:
                self.build["statusDetail"] = failure.detail
                if failure.kind:
                    in_step = failure.kind == "USER_BUILD_STEP"
                    kind = "Build step failure" if in_step else "Build failure"
                    self.build["failureInfo"] = {"type": failure.kind, "detail": f"{kind}: {failure.detail}"}
            provenance.record(self.world, self.build)
            self._save()

    def _clear(self) -> None:
        with contextlib.suppress(EngineFailed):
            containers.remove_all(self._labels)
        shutil.rmtree(self._config, ignore_errors=True)

    def _run(self, build_log: BuildLog) -> None:
        deadline = time.monotonic() + validation.seconds(self.build.get("timeout"), validation.DEFAULT_TIMEOUT)
        address = containers.address(self.world)
        try:
            token = tokens.mint(self.world, f"serviceAccount:{self.account}", tick=False)
        except tokens.InvalidToken as gone:
            raise BuildFailed("FAILURE", "", f"service account {gone}") from None  # unverified: the sentence
        shim = builders.prepare_tools(self.world)
        containers.write_config(self._config, address.registry, token)
        network = "none"
        if builders.needs_network(self.build["steps"]):
            short = builders.short(containers.world_id(self.world), self.build["id"])
            network = containers.make_network(f"cloudbuild-{short}", *self._labels)
        place = builders.Place(
            self.build["id"],
            containers.world_id(self.world),
            self.build["projectId"],
            self._labels,
            network,
            address,
            shim,
            self.world.folder.parent / "ca" / "bundle.pem",
        )
        running = Running(
            self.world,
            self.build,
            place,
            self._config,
            build_log,
            self._cancelled,
            self._stopping,
            self._mark,
            self._now,
        )
        build_log.line(f'starting build "{self.build["id"]}"')
        build_log.line("")
        build_log.line("FETCHSOURCE")
        with self._timed("FETCHSOURCE"):
            workspace.fill(running, token)
        build_log.line("BUILD")
        with self._timed("BUILD"):
            self._steps(running, deadline)
        used = [running.builders.get(number, "") for number in range(len(self.build["steps"]))]
        self.build["results"] = {"buildStepImages": used, "buildStepOutputs": workspace.outputs(running)}
        images = [*self.build.get("images", ()), *self.build.get("artifacts", {}).get("images", ())]
        if images:
            build_log.line("PUSH")
            with self._timed("PUSH"):
                self.build["results"]["images"] = pushing.push(running, list(dict.fromkeys(images)))

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Any:
        started = self._now()
        try:
            yield
        finally:
            self.build.setdefault("timing", {})[phase] = {"startTime": started, "endTime": self._now()}

    def _steps(self, running: Running, deadline: float) -> None:
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
                step.run(running, number, deadline)
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

    def _mark(self, step: dict[str, Any], status: str) -> None:
        with self._lock:
            step["status"] = status
            self._save()
