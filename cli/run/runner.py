"""`make run`: run notebooks in order in a world of their own, and clean up however the run ends."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.run import execution, google_world, kernels, report, spending, stale
from cli.run.execution import Interrupted, Result
from cli.run.plans import BadRequest, Plan, require_parameters
from cli.run.report import Verdict
from cli.run.spending import OverBudget
from cli.world import starter
from helpers import sweep, target
from helpers.cell import about, documents
from helpers.fast_forward import fast_forward
from helpers.leftovers import Leftover
from helpers.target import ROOT, Target
from machine import base_image, reach
from machine import engine as machine_engine
from machine.errors import EngineElsewhere

RUNS: Final = ROOT / "runs"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        line: the last line of its output, with the verdict and the reason.
        code: 0 ok or partial, 1 failed, 3 stopped by its budget, 130/143 interrupted.
    """

    folder: Path
    line: str
    code: int
    results: tuple[Result, ...] = ()
    digests: tuple[report.StoredDigest, ...] = ()
    port: int = 0


def run(plan: Plan, console: Console, runs: Path = RUNS) -> Outcome:
    """Run the plan and clean up. Raises BadRequest before anything is started. The Outcome has other failures."""
    shares = require_parameters(plan.notebooks, plan.parameters)
    folder, run_id = _new_folder(runs, plan.run)
    stale.note(folder, None)
    results: list[Result] = []
    facts = _Facts()
    failure = stopped_by = ""

    def keep(result: Result) -> None:
        results.append(result)
        # After every notebook, because the last one leaves an empty registry.
        if facts.here:
            facts.digests = report.stored_digests(facts.here) or facts.digests

    with execution.signals():
        try:
            with _opened(plan, folder, run_id, console, facts):
                _execute_all(plan, shares, folder, console, keep)
        except Interrupted as stopped:
            line = f"INTERRUPTED by signal {stopped.number}; what was created is cleaned up. Log: {folder}"
            console.print(line, markup=False, soft_wrap=True)
            return Outcome(folder, line, 128 + stopped.number, tuple(results))
        except OverBudget as reached:
            stopped_by = str(reached)
        except Exception as error:  # noqa: BLE001 - whatever stopped the run is its outcome
            failure = f"{type(error).__name__}: {error}"
            _log(folder, error)
    return _close(plan, folder, tuple(results), facts, _Ended(failure, stopped_by), console)


@dataclass
class _Facts:
    """Facts that are only available while the world exists."""

    here: Target | None = None
    digests: tuple[report.StoredDigest, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    port: int = 0


@dataclass(frozen=True)
class _Ended:
    """The reason why the run ended early, unless it was a failed cell."""

    failure: str = ""
    budget: str = ""


def _new_folder(runs: Path, run_id: str) -> tuple[Path, str]:
    """Create `runs/<UTC time>/`. Return it and the run's id, which is valid in labels and repository names."""
    runs.mkdir(exist_ok=True)
    for _ in range(100):
        moment = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S%f")[:-3] + "Z"
        folder = runs / moment
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder, run_id or f"{moment[:15].lower()}-{secrets.token_hex(3)}"
    raise BadRequest(f"No folder could be made in {runs}.")


@contextlib.contextmanager
def _opened(plan: Plan, folder: Path, run_id: str, console: Console, facts: _Facts) -> Iterator[None]:
    """Set up engine, base image, world and environment, and take them down in the opposite order."""

    def echo(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    home = folder / "world"
    lease = f"run-{run_id}"
    with contextlib.ExitStack() as stack:
        # Before the engine starts, since Ctrl-C may come meanwhile.
        stack.callback(machine_engine.release, lease)
        engine = machine_engine.ensure(echo)
        machine_engine.lease(lease, os.getpid())
        # Every engine reaches Google.
        elsewhere = _reach(plan, engine, echo) if plan.target != "gcp" else {}
        variables = machine_engine.environment(engine) | elsewhere
        with _patched(variables):
            stale.clean(folder.parent, echo)
        with contextlib.closing(machine_engine.client(engine)) as client:
            python_image = base_image.ensure(client, echo)
        home.mkdir(mode=0o700)
        if not plan.keep:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        if plan.target == "gcp":
            changes = google_world.prepare(home, plan.project, run_id, variables, python_image, plan.region)
        else:
            project = plan.project or f"ml-workbook-{secrets.token_hex(3)}"
            opened = starter.start(home, project=project, port=plan.port, clock=plan.clock)
            stack.callback(_stop, home, folder)
            facts.port = opened.info.port
            changes = opened.environment(variables, run=run_id, python_image=python_image)
        with _environment(changes, folder):
            facts.here = target.current()
            if plan.target == "gcp":
                google_world.refuse_existing(facts.here)
            stale.note(folder, facts.here)
            try:
                yield
                facts.versions = report.versions()
            finally:
                if not plan.keep:
                    _sweep(plan, facts.here, echo)


def _reach(plan: Plan, engine: machine_engine.Engine, echo: Callable[[str], None]) -> dict[str, str]:
    """Check whether the engine reaches the sandbox, and return the variables for the notebooks if it doesn't.

    Raises EngineElsewhere if a notebook of the plan needs it, before anything is pulled or built.
    """
    found = reach.environment(engine.host)
    for reason in found.values():
        if any(about.read(path).engine for path in plan.notebooks):
            raise EngineElsewhere(reason)
        echo(reason)
    return found


def _prepare_standalone(path: Path, done: Sequence[Path], console: Console) -> None:
    """Create what a notebook needs if the run leaves out notebooks before it."""
    before = [one for one in documents.notebooks() if one < path]
    if path.parent == documents.NOTEBOOKS and not set(before) <= set(done):
        fast_forward(about.number(path), lambda line: console.print(line, markup=False, highlight=False))


def _sweep(plan: Plan, here: Target, echo: Callable[[str], None]) -> None:
    """Remove what the run created on Google and on the engine, and report what can't be removed."""
    made: tuple[Leftover, ...] = ()
    if plan.target == "gcp":
        try:
            made = sweep.find_made(here)
        except (GoogleAPICallError, GoogleAuthError, requests.RequestException) as error:
            echo(f"Google couldn't be asked what is left: {error}")
            echo(f"Look later with: {sweep_command(here)}")
    repositories = [one for one in made if one.kind == "repository"]
    failed = sweep.attempt((*sweep.find_local(here, repositories), *made)).failed
    for one, reason in failed:
        echo(f"Still there: {one.kind} {one.name}: {reason}")
    if failed and made:
        echo(f"Try again with: {sweep_command(here)}")


def sweep_command(here: Target) -> str:
    """Return the command that removes a run's leftovers."""
    return f".venv/bin/workbook sweep --project {here.project_id} --region {here.region} --run {here.run} --yes"


def _stop(home: Path, folder: Path) -> None:
    starter.stop(home)
    log = home / "sandbox.log"
    if log.exists():
        shutil.copyfile(log, folder / "sandbox.log")


@contextlib.contextmanager
def _environment(changes: Mapping[str, str | None], folder: Path) -> Iterator[None]:
    """Change this process's environment to the world's, which papermill passes to the kernels."""
    with tempfile.TemporaryDirectory(prefix="workbook-ipython-") as profile:
        startup = Path(profile) / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "00-workbook.py").write_text(kernels.STARTUP, encoding="utf-8")
        own = {
            "WORKBOOK_JOURNAL": str(folder / "journal.jsonl"),
            "WORKBOOK_PROGRESS": "off",
            # This environment's kernel, despite any kernelspec in the user's home.
            "JUPYTER_PREFER_ENV_PATH": "1",
            # Without the user's IPython start-up files.
            "IPYTHONDIR": profile,
        }
        with _patched({**changes, **own}):
            yield


@contextlib.contextmanager
def _patched(changes: Mapping[str, str | None]) -> Iterator[None]:
    before = dict(os.environ)
    changed = target.apply(changes, before)
    os.environ.clear()
    os.environ.update(changed)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _execute_all(
    plan: Plan,
    shares: Mapping[Path, Mapping[str, Any]],
    folder: Path,
    console: Console,
    keep: Callable[[Result], None],
) -> None:
    """Execute the notebooks until one fails. `keep` gets each result immediately, in case the run is interrupted."""
    since = dt.datetime.now(dt.UTC)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
    )
    spare = kernels.Spare(folder / "kernel.log")
    with (
        contextlib.closing(spare),
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress,
    ):
        # The kernel starts while the notebooks are read and the first one's needs are created.
        spare.prepare(plan.notebooks[0])
        counts = {path: documents.code_cells(path) for path in plan.notebooks}
        whole = progress.add_task("all notebooks", total=sum(counts.values()))
        for position, path in enumerate(plan.notebooks, 1):
            if lacking := about.read(path).lacking(plan.target):
                report.leave_out(folder / "journal.jsonl", path, lacking)
                line = f"[{position}/{len(plan.notebooks)}] {path.stem}: left out, {lacking}, and its builds run it"
                console.print(line, markup=False, highlight=False)
                progress.advance(whole, counts[path])
                continue
            one = progress.add_task(path.stem, total=counts[path])

            def advance(one: Any = one) -> None:
                progress.advance(one)
                progress.advance(whole)

            if plan.max_usd is not None:
                _check_budget(path, plan.notebooks[: position - 1], plan.max_usd, since)
            os.environ["WORKBOOK_NOTEBOOK"] = path.stem
            _prepare_standalone(path, plan.notebooks[: position - 1], console)
            kernel = spare.take(path)
            if position < len(plan.notebooks):
                spare.prepare(plan.notebooks[position])
            result = execution.execute(path, folder / path.name, shares[path], advance, kernel)
            progress.remove_task(one)
            keep(result)
            console.print(
                f"[{position}/{len(plan.notebooks)}] {path.stem}: {result.status}, "
                f"{result.cells} of {result.of} cells, {result.seconds:.1f} s",
                markup=False,
                highlight=False,
            )
            if result.failure:
                break


def _check_budget(path: Path, done: Sequence[Path], limit: float, since: dt.datetime) -> None:
    """Raise OverBudget if the notebook would exceed the run's limit."""
    used = spending.measured(target.current().location.project, since)
    spending.require(path, done, used, limit)


def _log(folder: Path, error: Exception) -> None:
    import traceback

    text = "".join(traceback.format_exception(error))
    (folder / "error.log").write_text(text, encoding="utf-8")


def _sentence(error: str) -> str:
    """Return the error's first line, ending in one full stop."""
    return error.splitlines()[0].rstrip(". ") + "."


def _close(
    plan: Plan, folder: Path, results: tuple[Result, ...], facts: _Facts, ended: _Ended, console: Console
) -> Outcome:
    """Write the reports, print the closing table, and put the verdict on the last line."""
    skipped = report.not_run(folder / "journal.jsonl")
    verdict, reason = _verdict(plan, folder, results, skipped, ended)
    report.write_summary(folder, facts.here, results, facts.digests, skipped, verdict, reason, facts.versions)
    report.write_junit(folder, results, skipped)
    report.write_html(results)
    report.print_table(console, results, facts.digests, folder)
    line = f"{verdict}: {reason}" if reason else str(verdict)
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    return Outcome(folder, line, verdict.exit_status, results, facts.digests, facts.port)


def _verdict(
    plan: Plan, folder: Path, results: tuple[Result, ...], skipped: Sequence[report.NotRun], ended: _Ended
) -> tuple[Verdict, str]:
    """Return the verdict and its reason, which is empty if all is well."""
    failed = next((one for one in results if one.failure), None)
    if failed and failed.failure:
        where = f"{failed.notebook}, cell {failed.failure.cell} ({failed.failure.cell_id})"
        return Verdict.FAILED, f"{where}: {_sentence(failed.failure.error)} Log: {failed.output}"
    if ended.failure:
        return Verdict.FAILED, f"{_sentence(ended.failure)} Log: {folder / 'error.log'}"
    if ended.budget:
        return Verdict.STOPPED, ended.budget
    if not skipped:
        return Verdict.OK, ""
    count = sum(len(one.commands) for one in skipped)
    not_run = f"{count} commands not run ({', '.join(sorted({one.reason for one in skipped}))})"
    if plan.strict:
        return Verdict.FAILED, f"{not_run}, and --strict allows none. Log: {folder / 'journal.jsonl'}"
    return Verdict.PARTIAL, not_run
