"""A class at one sandbox: 30 learners, a project each, in notebooks 01 to 05 and 08 at once, over and over.

    .venv/bin/python benchmarks/registry/learners.py [--learners 30] [--seconds 40]

Each has one request after the other, as fast as they come, until the time is up and the round ends. Then everybody's
project must hold what the notebooks leave, and each learner tries every route of the sandbox on a neighbour's project.
The same load by one learner alone gives the ratio. Aims: 150 ms for 95 of 100 API calls, less than 400 MB of memory at
the end, no growth in the second half. `--seconds 600` is the long run. It exits with 1 when any answer is wrong.
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
Found = tuple[list[tuple[str, float]], int, list[str]]  # calls, rounds, what was wrong


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
    """Start a sandbox of its own, with so many projects, each owned by its learner alone."""
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


def learn(seat: Seat, port: int, until: float, found: list[Found]) -> None:
    """Work through the notebooks again and again, and leave the project as the last round ended."""
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
    found.append((learner.calls, rounds, wrong))


def some(seats: Sequence[Seat], port: int, until: float, told: multiprocessing.Queue[list[Found]]) -> None:
    """Be some of the learners, in a process of their own."""
    found: list[Found] = []
    threads = [threading.Thread(target=learn, args=(seat, port, until, found)) for seat in seats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.put(found)


def at_once(room: Class, seconds: float) -> tuple[list[Found], list[int]]:
    """Have everybody learn for so long; returns what they found, and the sandbox's memory at ten moments."""
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[list[Found]] = context.Queue()
    began = time.monotonic()
    until = began + seconds
    groups = [room.seats[place::PROCESSES] for place in range(PROCESSES)]
    children = [
        context.Process(target=some, args=(group, room.world.info.port, until, told)) for group in groups if group
    ]
    for child in children:
        child.start()
    memory = []
    for moment in range(1, 11):
        time.sleep(max(0.0, began + seconds * moment / 10 - time.monotonic()))
        memory.append(room.memory())
    found = [one for _ in children for one in told.get()]
    for child in children:
        child.join()
    memory.append(room.memory())
    return found, memory


def everything_on(room: Class) -> None:
    """Enable every API in every project, so that no route is refused only because its API is off."""
    names = sorted(SERVICES)
    for number, project, token in room.seats:
        owner = lesson.Learner(number, project, room.world.info.port, token)
        for place in range(0, len(names), 20):
            wanted = {"serviceIds": names[place : place + 20]}
            owner.api("POST", f"projects/{project}/services:batchEnable", wanted, service="serviceusage")


def trespasses(room: Class) -> tuple[int, list[str]]:
    """Have each learner try every route on the next one's project; returns the tries, and what was let through."""
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
    """Read what every project holds, each by its owner."""
    return [
        lesson.Learner(number, project, room.world.info.port, token).state() for number, project, token in room.seats
    ]


def milliseconds(found: Iterable[Found], wanted: str) -> list[float]:
    """Return the percentiles of one kind of call, in milliseconds."""
    return statistics.quantiles(
        [seconds * 1000 for calls, _, _ in found for kind, seconds in calls if kind == wanted], n=100
    )


def line(title: str, found: Sequence[Found], seconds: float) -> str:
    """Say in one line what so many learners waited."""
    api, registry = milliseconds(found, "api"), milliseconds(found, "registry")
    calls, rounds = sum(len(calls) for calls, _, _ in found), sum(rounds for _, rounds, _ in found)
    return (
        f"{title}: {calls} calls, {calls / seconds:.0f} a second, {rounds} rounds; API p50 {api[49]:.0f} ms, "
        f"p95 {api[94]:.0f} ms (aim 150), p99 {api[98]:.0f} ms; "
        f"registry p50 {registry[49]:.0f} ms, p95 {registry[94]:.0f} ms"
    )


def main() -> int:
    """Run them and print what they waited for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=40)
    asked = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before")
    with opened(1) as room:
        began = time.monotonic()
        alone, _ = at_once(room, min(10.0, asked.seconds))
        print(line("1 learner", alone, time.monotonic() - began))
    with opened(asked.learners) as room:
        at_start = room.memory()
        began = time.monotonic()
        found, memory = at_once(room, asked.seconds)
        print(line(f"{asked.learners} learners", found, time.monotonic() - began))
        ratio = milliseconds(found, "api")[49] / milliseconds(alone, "api")[49]
        print(f"the median API call of {asked.learners} takes {ratio:.1f} times as long as that of one")
        wrong = [one for _, _, some in (*alone, *found) for one in some]
        if not wrong:
            everything_on(room)
            before = states(room)
            tried, through = trespasses(room)
            print(f"{tried} tries of every route on a neighbour's project: {len(through)} let through")
            wrong += through
            if states(room) != before:
                wrong.append("a project has changed by what its neighbour tried")
    print(f"memory {at_start} MB before, then at ten moments {memory[:-1]}, {memory[-1]} MB at the end (aim 400)")
    print(f"load {os.getloadavg()[0]:.1f} after")
    print(*wrong[:20], sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
