"""The queue of builds: two run at a time, the others wait in the order of their creation."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from typing import Any

from sandbox import containers
from sandbox.cloud_build import store, validation
from sandbox.cloud_build.job import Job
from sandbox.state.clock import timestamp
from sandbox.state.world import World

AT_ONCE = 2  # builds. Google's default is 30, each on a machine of its own
_TTL = 3600  # seconds until a queued build expires, https://cloud.google.com/build/docs/api/reference/rest
CUT_SHORT = "the sandbox was stopped while this build ran"
log = logging.getLogger("sandbox")


class Queue:
    """The builds of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: queue.Queue[tuple[Job, float]] = queue.Queue()
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._stopped = threading.Event()

    def submit(self, build: dict[str, Any]) -> None:
        """Add a build to the queue without waiting for it."""
        job = Job(self._world, build)
        with self._lock:
            self._jobs[build["id"]] = job
            if len(self._workers) < AT_ONCE:
                self._workers.append(threading.Thread(target=self._work, daemon=True, name="build"))
                self._workers[-1].start()
        self._waiting.put((job, time.monotonic()))

    def cancel(self, build_id: str) -> None:
        """Cancel a queued or running build."""
        job = self._jobs.get(build_id)
        if job is not None:
            job.cancel()

    def end_account(self, email: str) -> None:
        """Fail an account's queued and running builds."""
        for job in list(self._jobs.values()):
            if job.account == email:
                # unverified: Google's status and sentence
                job.cancel("FAILURE", f"service account {email} is disabled or deleted")

    def close(self) -> None:
        """Cancel running builds on shutdown; queued builds resume at the next start."""
        self._stopped.set()
        for job in list(self._jobs.values()):
            if job.build["status"] == "WORKING":
                job.cancel("INTERNAL_ERROR", CUT_SHORT)

    def _work(self) -> None:
        while not self._stopped.is_set():
            job, since = self._waiting.get()
            if self._stopped.is_set():
                return
            try:
                if time.monotonic() - since > validation.seconds(job.build.get("queueTtl"), _TTL):
                    job.cancel("EXPIRED")
                else:
                    job.run()
            except Exception:
                log.exception("build %s could not be run", job.build["id"])
            finally:
                with self._lock:
                    self._jobs.pop(job.build["id"], None)


def recover(world: World) -> None:
    """Fail the builds that a crash interrupted, and queue those that have not started."""
    with contextlib.suppress(containers.EngineFailed):
        unfinished = store.unfinished(world)
        for build in unfinished:
            if build["status"] == "PENDING":
                continue  # waits for an approval
            if build["status"] == "QUEUED":
                world.part(Queue).submit(build)
                continue
            build |= {
                "status": "INTERNAL_ERROR",
                "statusDetail": CUT_SHORT,
                "finishTime": timestamp(world.now()),
            }
            for step in build["steps"]:
                if step.get("status") == "WORKING":
                    step["status"] = "CANCELLED"
            store.save(world, build)
