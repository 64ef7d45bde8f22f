"""The command `workbook`: its verbs and their options. Other modules implement them."""

from __future__ import annotations

import errno
import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.run import plans
from cli.run.plans import BadRequest
from cli.world import starter
from cli.world.settings import SignInFailed
from helpers.cell import addresses
from helpers.target import REGION, ROOT, NoTarget
from machine import gcloud, tools
from machine.errors import MachineError

app = typer.Typer(
    name="workbook",
    help="Artifact Registry, notebook by notebook, on a sandbox of your own or on Google.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)

Home = Annotated[Path, typer.Option("--home", envvar="WORKBOOK_HOME", help="Folder of the world.", show_default=False)]


def say(line: str) -> None:
    """Print a line without markup."""
    console.print(line, markup=False, highlight=False)


def complain(line: str) -> None:
    """Print a line without markup on standard error."""
    errors.print(line, markup=False, highlight=False)


@app.command()
def setup() -> None:
    """Make sure that gcloud is there, that a Docker Engine answers, and that it holds the base image."""
    from cli import set_up

    set_up.all_parts(say, complain)


@app.command()
def start(
    home: Home = starter.LEARNERS_HOME, port: Annotated[int | None, typer.Option(help="Port of the sandbox.")] = None
) -> None:
    """Start your sandbox, and the engine that was made for it, and return when they are ready."""
    from cli import set_up

    set_up.bring_back_engine(say, complain)
    opened = starter.start(home, port=port)
    _warn_of_an_engine_elsewhere()
    say(f"The sandbox runs at {opened.url}, project {opened.info.project_id}.")
    say('Load it into a shell with: eval "$(.venv/bin/workbook env)"')


def _warn_of_an_engine_elsewhere() -> None:
    from machine import engine, reach

    found = engine.find()
    elsewhere = reach.why_not(found.host) if found else ""
    if elsewhere:
        complain(elsewhere)


@app.command()
def stop(home: Home = starter.LEARNERS_HOME) -> None:
    """Stop your sandbox; its state stays."""
    say("The sandbox has stopped." if starter.stop(home) else "No sandbox was running.")


@app.command()
def reset(
    home: Home = starter.LEARNERS_HOME,
    notebook: Annotated[int | None, typer.Option(help="Begin this notebook anew, in the world that it needs.")] = None,
) -> None:
    """Stop your sandbox and forget everything in it; your notebooks stay."""
    if notebook is not None:
        from cli import again

        raise typer.Exit(again.begin(home, notebook, say, complain))
    starter.reset(home)
    say("The world is empty again. Your notebooks are untouched.")


@app.command()
def status(home: Home = starter.LEARNERS_HOME) -> None:
    """Say whether your sandbox runs; exit status 1 when it doesn't."""
    found = starter.status(home)
    say(found.detail)
    if found.world is None:
        raise typer.Exit(1)


@app.command("console")
def show_console(
    link: Annotated[str, typer.Argument(help="a link to Google's console, as gcloud prints it")] = "",
    home: Home = starter.LEARNERS_HOME,
) -> None:
    """Print the address at which a browser sees what your sandbox holds; it signs you in once.

    With a link of gcloud's output in quotes it is that of the same page.
    """
    page = addresses.of_console(link)
    if link and not page:
        complain("The console has no page for that link: only for builds, services, repositories and images.")
        raise typer.Exit(2)
    found = starter.status(home)
    if found.world is None:
        complain(f"{found.detail} Start it with `.venv/bin/workbook start`, then ask again.")
        raise typer.Exit(1)
    say(found.world.console(page))


@app.command()
def env(home: Home = starter.LEARNERS_HOME) -> None:
    """Print the lines that point this shell's gcloud, docker, curl and Python at your sandbox."""
    found = starter.status(home)
    if found.world is None:
        complain(f"{found.detail} Start it with `.venv/bin/workbook start`, then ask again.")
        raise typer.Exit(1)
    from cli import set_up
    from machine import stand_in
    from machine.base_image import PUBLIC

    # Without a pull or a build, because a shell waits for the output.
    changes = set_up.environment(found.world, lambda client: stand_in.find(client) or PUBLIC)
    if changes is None:
        complain("No Docker Engine answers: DOCKER_HOST isn't set. Make one available with `.venv/bin/workbook setup`.")
        changes = found.world.environment({}, run=found.world.lab_run)
    for line in export_lines(_own_gcloud() | changes):
        typer.echo(line)


def _own_gcloud() -> dict[str, str | None]:
    """Return the variables that `main` added for the workbook's own gcloud, which the calling shell lacks."""
    own = gcloud.program()
    if own is None or gcloud.foreign():
        return {}
    return {name: os.environ[name] for name in ("PATH", "CLOUDSDK_PYTHON") if name in os.environ}


def export_lines(changes: dict[str, str | None]) -> list[str]:
    """Return the changes as lines for a POSIX shell, sorted by name."""
    return [
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
        for name, value in sorted(changes.items())
    ]


@app.command()
def run(
    only: Annotated[str, typer.Option(help="Only these notebooks, as 02,03.")] = "",
    target: Annotated[str, typer.Option(envvar="TARGET", help="sandbox or gcp.")] = "sandbox",
    project: Annotated[str, typer.Option(envvar="PROJECT", help="Your project, with --target gcp.")] = "",
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when a single command isn't run.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the world and the images after the run.")] = False,
) -> None:
    """Run the notebooks in order in a world of their own."""
    from cli.run import runner

    plan = plans.Plan(
        plans.choose(only, target=target),
        parameters=dict(read_parameter(text) for text in parameter or []),
        target=target,
        project=project if target == "gcp" else "",
        strict=strict,
        keep=keep,
    )
    raise typer.Exit(runner.run(plan, console).code)


def read_parameter(text: str) -> tuple[str, Any]:
    """Return a name and a typed value from `NAME=VALUE`. Raises BadRequest without a name or a sign."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise BadRequest(f"{text!r} isn't a parameter: write -p NAME=VALUE.")
    if value in ("true", "True", "false", "False"):
        return name, value in ("true", "True")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


Project = Annotated[str, typer.Option(envvar="PROJECT", help="Your project on Google.")]
Region = Annotated[str, typer.Option(help="The region of the repositories and services.")]


@app.command()
def real(
    project: Project = "",
    region: Region = REGION,
    only: Annotated[str, typer.Option(help="Only these notebooks, as 02,03.")] = "",
    max_usd: Annotated[float, typer.Option(min=0.0, help="The most that the run may cost, US dollars.")] = 1.0,
    check: Annotated[bool, typer.Option("--check", help="Only say whether the project is ready.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: one JSON document.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail when a single command isn't run.")] = False,
) -> None:
    """Run the notebooks on Google, within a budget; 0 ok, 1 you must fix something, 2 an administrator, 3 budget."""
    from cli.readiness import real as on_google

    notebooks = plans.choose(only, target="gcp")
    if check:
        raise typer.Exit(on_google.check(project, region, notebooks, as_json=as_json, say=typer.echo))
    plan = plans.Plan(notebooks, target="gcp", project=project, strict=strict, region=region, max_usd=max_usd)
    raise typer.Exit(on_google.run(plan, console, say=say))


@app.command()
def sweep(
    project: Project = "",
    region: Region = REGION,
    run: Annotated[str, typer.Option(help="Only what this run left, however young.")] = "",
    older_than: Annotated[str, typer.Option(help="What runs left that began so long ago: 12h, 1d, 2w.")] = "1d",
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without it, nothing is removed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List what runs left in a project on Google, and with --yes remove it; 1 when something couldn't be."""
    from cli.readiness import real as on_google

    wanted = on_google.Wanted(project, region, run, older_than)
    raise typer.Exit(on_google.clean(wanted, remove=yes, as_json=as_json, say=typer.echo))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    home: Home = starter.LEARNERS_HOME,
    target: Annotated[str, typer.Option(envvar="TARGET", help="sandbox or gcp.")] = "sandbox",
    project: Annotated[str, typer.Option(envvar="PROJECT", help="Your project, with --target gcp.")] = "",
) -> None:
    """Open JupyterLab on your copy of the notebooks; what follows `--` goes to Jupyter."""
    from cli import lab as laboratory

    plans.check_target(target, project)
    raise typer.Exit(laboratory.lab(context.args, say, home, project if target == "gcp" else ""))


@app.command()
def workshop(only: Annotated[str, typer.Option(help="Only these notebooks, as 00,01,02.")] = "") -> None:
    """Run the notebooks once, so that nothing is fetched on the day, and print a report to hand in."""
    from cli import workshop as day
    from cli.run import runner

    checked = day.parts(say)
    for name, value in checked.items():
        say(f"{name}: {value}")
    outcome = runner.run(plans.Plan(plans.choose(only)), console)
    if outcome.code > 1:  # interrupted
        raise typer.Exit(outcome.code)
    text, ready = day.report(outcome.folder, checked)
    say(f"\n{text}")
    raise typer.Exit(0 if ready else 1)


@app.command()
def record() -> None:
    """Run the notebooks in a fresh sandbox and store them with their outputs."""
    from cli.record import record as recorder

    raise typer.Exit(recorder.record(plans.choose(""), console).code)


@app.command()
def doctor(
    home: Home = starter.LEARNERS_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended in your stopped sandbox.")] = False,
) -> None:
    """Compare tools with the recorded ones, lint commands, check your world; 1 unknown command, 2 tool, 3 world."""
    from cli import doctor as surgery

    raise typer.Exit(surgery.run(as_json=as_json, say=typer.echo, home=home, repair=repair))


@app.command()
def progress(
    home: Home = starter.LEARNERS_HOME,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say how many exercises are done, alone or with the solution, notebook by notebook."""
    from cli.answers import progress as progress_answer

    raise typer.Exit(progress_answer.progress(home, as_json=as_json, say=typer.echo))


cleanup_app = typer.Typer(help="Cleanup policies.", no_args_is_help=True)
app.add_typer(cleanup_app, name="cleanup")


@cleanup_app.command("preview")
def cleanup_preview(
    policy: Annotated[Path, typer.Argument(help="Policy file, as gcloud takes it.")],
    repository: Annotated[str, typer.Argument(help="LOCATION-docker.pkg.dev/PROJECT/REPOSITORY.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    layers: Annotated[bool, typer.Option(help="Read every manifest, to count shared layers once.")] = True,
) -> None:
    """Say for every version whether the next run would delete it, and why; exit status 3 with warnings."""
    from cli.answers import cleanup_and_bill

    raise typer.Exit(cleanup_and_bill.preview(policy, repository, as_json=as_json, layers=layers, say=typer.echo))


@app.command()
def bill(
    project: Annotated[str, typer.Argument(help="Project id; without one that of the loaded world.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say what a month of a project's present state would cost on Google."""
    from cli.answers import cleanup_and_bill

    raise typer.Exit(cleanup_and_bill.bill(project, as_json=as_json, say=typer.echo))


@app.command()
def gate(
    image: Annotated[str, typer.Argument(help="LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE:TAG or @sha256:….")],
    block: Annotated[str, typer.Option(help="The least severity that blocks.")] = "CRITICAL",
    only_fixable: Annotated[bool, typer.Option("--only-fixable", help="Only what has a fixed version blocks.")] = False,
    allow: Annotated[list[str] | None, typer.Option(help='"CVE-… until YYYY-MM-DD: reason".')] = None,
    allow_file: Annotated[Path | None, typer.Option(help='JSON list of {"id", "until", "reason"}.')] = None,
    scan: Annotated[str, typer.Option(help="A scan on demand, projects/P/locations/us/scans/ID.")] = "",
    seconds: Annotated[float, typer.Option(help="How long to wait for the scan.")] = 60.0,
    output: Annotated[str, typer.Option("--format", help="text, json or sarif.")] = "text",
) -> None:
    """Say whether an image may go on; exit status 0 passes, 1 blocks, 2 could not tell."""
    from cli.answers import gate as gate_answer

    options = gate_answer.Options(image, block, only_fixable, tuple(allow or ()), allow_file, scan, seconds, output)
    raise typer.Exit(gate_answer.gate(options, say=typer.echo, complain=complain))


@app.command("record-exchanges")
def record_exchanges(
    project: Annotated[str, typer.Option(envvar="PROJECT", help="Your project on Google.")],
    region: Annotated[str, typer.Option(help="Where the scratch repository is made.")] = REGION,
    folder: Annotated[Path, typer.Option("--into", help="Where the files go.")] = ROOT / "tests" / "exchanges",
) -> None:
    """Record what Google answers to a fixed list of calls, without names and secrets; exit status 1 writes nothing."""
    from cli.answers import cleanup_and_bill

    raise typer.Exit(cleanup_and_bill.record_exchanges(project, region, folder, say=say))


advisories_app = typer.Typer(help="The advisories that the sandbox's scans use.", no_args_is_help=True)
app.add_typer(advisories_app, name="advisories")


@advisories_app.command("refresh")
def advisories_refresh(
    home: Home = starter.LEARNERS_HOME,
    url: Annotated[str, typer.Option(help="Where OSV's archives are.")] = "",
) -> None:
    """Take OSV's current advisories for Python and Debian 12 into your sandbox; later scans use them."""
    from cli import advisories

    raise typer.Exit(advisories.refresh(home, url or advisories.ARCHIVES, say=say, complain=complain))


def main() -> None:
    """Run the console script. An expected error is a message without a traceback."""
    os.chdir(ROOT)
    # For this process and its children: the sandbox, its builds, kernels.
    os.environ.update(gcloud.environment())
    os.environ.update(tools.environment())
    try:
        app()
    except BadRequest as error:
        complain(str(error))
        raise SystemExit(2) from None
    except (starter.WorldError, SignInFailed, MachineError, NoTarget) as error:
        complain(str(error))
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        complain(f"The disk is full{f': {error.filename}' if error.filename else ''}. Make room, then try again.")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
