"""A class on one sandbox: 30 learners, each with a project, repeat notebooks 01 to 05 and 08 at the same time.

    .venv/bin/python benchmarks/registry/learners.py [--learners 30] [--seconds 40]

Each learner sends one request after another without a pause, and ends with the round in which the time is up. Then each
project must be in the state in which the notebooks leave it, and each learner tries every route of the sandbox on a
neighbour's project. The work of one learner alone is the basis of the ratio. Aims: 150 ms for 95 of 100 API calls, less
than 400 MB of memory at the end, and no growth in the second half. `--seconds 600` is the long run. The exit status is
1 if any response is wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import lesson

from cli.world import starter
from sandbox import seed
from sandbox.iam import policies, tokens
from sandbox.project.service_usage import SERVICES
from sandbox.state import projects
from sandbox.state.clock import Clock
from sandbox.state.world import World
from tests.sandbox import test_every_route as routes

PROCESSES = 2
Seat = tuple[int, str, str]  # number, project, token
Result = tuple[list[tuple[str, float]], int, list[str]]  # calls, rounds, errors


@dataclass(frozen=True)
class Class:
    """A sandbox with a project for each learner."""

    home: Path
    world: starter.World
    seats: Sequence[Seat]
    numbers: Sequence[str]  # of the projects

    def memory(self) -> int:
        """Return the megabytes that the sandbox has in memory now."""
        status = Path(f"/proc/{self.world.info.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024


@contextmanager
def opened(learners: int) -> Iterator[Class]:
    """Start a sandbox with a project for each learner, who alone owns it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        state = World(home / "state", Clock())
        first = seed.prepare(state, home, "ml-class-lead", "us-central1")["project_id"]
        seats, numbers = [], []
        for number in range(learners):
            project = f"ml-class-{number:02}"
            with state.writing() as rows:
                projects.create(rows, state, project, f"Learner {number}", {})
                rows.execute("UPDATE projects SET billing_account = ? WHERE id = ?", (seed.BILLING_ACCOUNT, project))
                member = f"serviceAccount:{projects.add_service_account(rows, state, project, 'learner', '')}"
                policies.grant(rows, state, f"projects/{project}", "roles/owner", member)
                row = rows.execute("SELECT number FROM projects WHERE id = ?", (project,)).fetchone()
            numbers.append(row["number"])
            seats.append((number, project, tokens.mint(state, member, lifetime=7200)))
        state.close()
        world = starter.start(home, project=first, port=0)
        try:
            yield Class(home, world, seats, numbers)
        finally:
            starter.stop(home)


def learn(seat: Seat, port: int, until: float, results: list[Result]) -> None:
    """Repeat the notebooks until the time is up, and leave the project as the last round left it."""
    number, project, token = seat
    learner = lesson.Learner(number, project, port, token)
    rounds, wrong = 0, []
    try:
        while not rounds or time.monotonic() < until:
            if rounds:
                learner.delete(learner.held)
            learner.work_through()
            learner.check()
            rounds += 1
    except (lesson.Wrong, OSError) as error:
        wrong.append(str(error))
    learner.line.close()
    results.append((learner.calls, rounds, wrong))


def run_group(seats: Sequence[Seat], port: int, until: float, queue: multiprocessing.Queue[list[Result]]) -> None:
    """Run a group of learners in threads, and put their results into the queue."""
    results: list[Result] = []
    threads = [threading.Thread(target=learn, args=(seat, port, until, results)) for seat in seats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(results)


def run_class(room: Class, seconds: float) -> tuple[list[Result], list[int]]:
    """Run all learners for some seconds, and return their results and eleven samples of the sandbox's memory."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[list[Result]] = context.Queue()
    began = time.monotonic()
    until = began + seconds
    groups = [room.seats[place::PROCESSES] for place in range(PROCESSES)]
    children = [
        context.Process(target=run_group, args=(group, room.world.info.port, until, queue)) for group in groups if group
    ]
    for child in children:
        child.start()
    memory = []
    for moment in range(1, 11):
        time.sleep(max(0.0, began + seconds * moment / 10 - time.monotonic()))
        memory.append(room.memory())
    results = [one for _ in children for one in queue.get()]
    for child in children:
        child.join()
    memory.append(room.memory())
    return results, memory


def enable_every_api(room: Class) -> None:
    """Enable every API in every project, so that no route is refused only because its API is off."""
    names = sorted(SERVICES)
    for number, project, token in room.seats:
        owner = lesson.Learner(number, project, room.world.info.port, token)
        for place in range(0, len(names), 20):
            wanted = {"serviceIds": names[place : place + 20]}
            owner.api("POST", f"projects/{project}/services:batchEnable", wanted, service="serviceusage")


def trespasses(room: Class) -> tuple[int, list[str]]:
    """Have each learner try every route on the next one's project, and return the tries and those let through."""
    tried, through = 0, []
    for place, (_, project, token) in enumerate(room.seats):
        other = (place + 1) % len(room.seats)
        neighbour = room.seats[other][1]
        if neighbour == project:
            continue
        target = routes.Target(
            room.world.url, room.world.info.edge_port, "", room.home, neighbour, room.numbers[other], "", {}, token
        )
        for api, method in routes.ROUTES:
            answer = target.ask(api, method, token)
            tried += 1
            if method.id in routes.OPEN | routes.SIGNED_IN.keys():
                kept_out = neighbour not in answer.text
            elif method.id.endswith(routes.TESTS):
                kept_out = answer.json() == {}
            else:
                kept_out = answer.status_code in (403, 404)
            if not kept_out:
                through.append(f"{project} at {neighbour}: {method.id}: {answer.status_code} {answer.text[:200]}")
        for kind, verb in routes.OPERATIONS:
            answer = routes.ask(target, lesson.REPOSITORY, kind, verb, token)
            tried += 1
            if answer.status_code != 403:
                through.append(f"{project} at {neighbour}: {verb} {kind}: {answer.status_code}")
    return tried, through


def states(room: Class) -> list[dict[str, Any]]:
    """Return the state of every project, as its owner reads it."""
    return [
        lesson.Learner(number, project, room.world.info.port, token).state() for number, project, token in room.seats
    ]


def milliseconds(results: Iterable[Result], wanted: str) -> list[float]:
    """Return the percentiles of one kind of call, in milliseconds."""
    return statistics.quantiles(
        [seconds * 1000 for calls, _, _ in results for kind, seconds in calls if kind == wanted], n=100
    )


def line(title: str, results: Sequence[Result], seconds: float) -> str:
    """Return one line with the number of calls and how long they took."""
    api, registry = milliseconds(results, "api"), milliseconds(results, "registry")
    calls, rounds = sum(len(calls) for calls, _, _ in results), sum(rounds for _, rounds, _ in results)
    return (
        f"{title}: {calls} calls, {calls / seconds:.0f} a second, {rounds} rounds; API p50 {api[49]:.0f} ms, "
        f"p95 {api[94]:.0f} ms (aim 150), p99 {api[98]:.0f} ms; "
        f"registry p50 {registry[49]:.0f} ms, p95 {registry[94]:.0f} ms"
    )


def main() -> int:
    """Run one learner and then the class, and print how long their calls took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=40)
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before")
    with opened(1) as room:
        began = time.monotonic()
        alone, _ = run_class(room, min(10.0, options.seconds))
        print(line("1 learner", alone, time.monotonic() - began))
    with opened(options.learners) as room:
        at_start = room.memory()
        began = time.monotonic()
        results, memory = run_class(room, options.seconds)
        print(line(f"{options.learners} learners", results, time.monotonic() - began))
        ratio = milliseconds(results, "api")[49] / milliseconds(alone, "api")[49]
        print(f"the median API call of {options.learners} takes {ratio:.1f} times as long as that of one")
        wrong = [error for _, _, errors in (*alone, *results) for error in errors]
        if not wrong:
            enable_every_api(room)
            before = states(room)
            tried, through = trespasses(room)
            print(f"{tried} tries of every route on a neighbour's project: {len(through)} let through")
            wrong += through
            if states(room) != before:
                wrong.append("a neighbour's tries have changed a project")
    print(f"memory {at_start} MB before, then at ten moments {memory[:-1]}, {memory[-1]} MB at the end (aim 400)")
    print(f"load {os.getloadavg()[0]:.1f} after")
    print(*wrong[:20], sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
