"""`make lab`: start the learner's world, and JupyterLab with a copy of the notebooks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

from cli.run import execution, google_world
from cli.run.execution import Interrupted
from cli.world import starter
from helpers import target
from helpers.cell import documents
from machine import base_image, reach
from machine import engine as machine_engine

RUN: Final = "lab"  # on Google, in the learner's own project
_STOP_SECONDS: Final = 15.0
_OUTSIDE: Final = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")
_SETTINGS: Final = {
    # No prompts and downloads while the learner reads the first page.
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # More space for names.
    "@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": False},
}
# The initial layout, in which the file browser is as wide as the longest name. The learner's changes are kept.
_LAYOUT: Final = {
    "data": {
        "layout-restorer:data": {
            "left": {"collapsed": False, "visible": True, "current": "filebrowser", "widgets": ["filebrowser"]},
            "relativeSizes": [0.24, 0.76, 0],
        }
    },
    "metadata": {"id": "default"},
}
# Runs in every kernel before its first cell, so that `%%terminal` works even if the notebook's first cell isn't run.
_STARTUP: Final = """\
from IPython import get_ipython

from helpers import exercises
from helpers.cell import kernel

kernel.load(get_ipython(), exercises.solution)
"""


def copy_notebooks(source: Path, folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy the notebooks that `folder` lacks, and return the names of the copied and of the existing ones.

    A copy has no outputs. An existing file is the learner's work and is never overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copied, kept = [], []
    for path in documents.notebooks(source):
        aim = folder / path.name
        try:
            with aim.open("x", encoding="utf-8") as file:
                file.write(documents.text(unread(documents.read(path))))
            copied.append(path.name)
        except FileExistsError:
            kept.append(path.name)
    return tuple(copied), tuple(kept)


def unread(notebook: Any) -> Any:
    """Remove a notebook's recorded outputs and counts, and return it.

    Its language metadata becomes the kernel's, so that JupyterLab has nothing to save when it opens the notebook. A
    link to a file that JupyterLab doesn't serve becomes the file's name.
    """
    from ipykernel.ipkernel import IPythonKernel

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = _OUTSIDE.sub(r"\1 (the file `\2` in the workbook's folder)", cell.source)
    notebook.metadata.language_info = dict(IPythonKernel.language_info)
    return notebook


def trust(notebooks: Sequence[Path], state: Path) -> None:
    """Sign notebooks in a database of the lab's own, so that JupyterLab trusts their content."""
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary(  # type: ignore[no-untyped-call]
        db_file=str(_signatures(state)), secret_file=str(_secret(state))
    )
    try:
        for path in notebooks:
            notary.sign(documents.read(path))  # type: ignore[no-untyped-call]
    finally:
        notary.store.close()


def prepare(state: Path, more: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Write the settings of JupyterLab and its kernels, and return the variables that point to them."""
    settings = state / "settings"
    startup = state / "ipython" / "profile_default" / "startup"
    for folder in (settings, startup):
        folder.mkdir(parents=True, exist_ok=True)
    (settings / "overrides.json").write_text(
        json.dumps(_SETTINGS | dict(more or {}), indent=2) + "\n", encoding="utf-8"
    )
    (startup / "00-workbook.py").write_text(_STARTUP, encoding="utf-8")
    workspaces = state / "workspaces"
    if not workspaces.exists():
        from jupyterlab_server.workspaces_handler import WorkspacesManager

        WorkspacesManager(str(workspaces)).save("default", json.dumps(_LAYOUT))
    return {"IPYTHONDIR": str(state / "ipython")}


def terminal_settings(changes: Mapping[str, str | None]) -> str:
    """Return the start-up file of a terminal's bash: the learner's own settings, then the workbook's environment.

    The workbook's variables come last, because a `~/.bashrc` often changes PATH or names an engine.
    """
    lines = ["if [ -f ~/.bashrc ]; then . ~/.bashrc; fi"]
    for name, value in sorted(changes.items()):
        lines.append(f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}")
    return "\n".join(lines) + "\n"


def _terminal_settings(state: Path) -> Path:
    return state / "terminal.bashrc"


def _signatures(state: Path) -> Path:
    return state / "signatures.db"


def _secret(state: Path) -> Path:
    return state / "signatures.secret"


def lab(
    extra: Sequence[str],
    echo: Callable[[str], None],
    home: Path = starter.LEARNERS_HOME,
    project: str = "",
    *,
    server: str = "jupyterlab",
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Serve JupyterLab until Ctrl-C or SIGTERM, and return Jupyter's exit code, or 0 after a stop by signal.

    `server` is the module that serves it, with `settings` in addition to the workbook's own.

    The notebooks use the sandbox, or with `project` that project on Google. The sandbox is stopped at the end unless it
    was running before. A project that can't be read leads to a message and 1.
    """
    notebooks = home / "lab" / "notebooks"
    copied, kept = copy_notebooks(documents.NOTEBOOKS, notebooks)
    trust([notebooks / name for name in copied], home / "lab")
    own = prepare(home / "lab", settings)
    if copied:
        echo(f"Copied {len(copied)} notebooks to {notebooks}. They are yours: nothing here overwrites them.")
    if kept:
        echo(f"{len(kept)} notebooks were there already and stay as you left them.")
    lease = f"lab-{os.getpid()}"
    with execution.signals(), contextlib.ExitStack() as stack:
        try:
            # Before the engine starts, since Ctrl-C may come meanwhile.
            stack.callback(machine_engine.release, lease)
            engine = machine_engine.ensure(echo)
            machine_engine.lease(lease, os.getpid())
            with contextlib.closing(machine_engine.client(engine)) as client:
                python_image = base_image.ensure(client, echo)
            variables = machine_engine.environment(engine)
            if project:
                changes = _on_google(home, project, variables, python_image, echo)
            else:
                elsewhere = reach.environment(engine.host)
                for reason in elsewhere.values():
                    echo(reason)
                variables |= elsewhere
                changes = _in_the_sandbox(home, variables, python_image, echo, stack)
            # So that `python` and `workbook` in Jupyter's terminals are this environment's.
            folders = (str(Path(sys.executable).parent), changes.get("PATH") or os.environ.get("PATH", ""))
            changes |= {"PATH": os.pathsep.join(folders)}
            _terminal_settings(home / "lab").write_text(terminal_settings(changes), encoding="utf-8")
            environment = target.apply(changes, os.environ) | own | {"JUPYTER_PREFER_ENV_PATH": "1"}
            return _serve(command(notebooks, extra, server), environment)
        except Interrupted:
            echo("JupyterLab has stopped.")
            return 0
        except (exceptions.GoogleAPICallError, auth_exceptions.GoogleAuthError) as error:
            echo(
                f"Google says of the project {project}: {error} "
                f"What is missing: make real PROJECT={project} ARGS=--check"
            )
            return 1


def _in_the_sandbox(
    home: Path,
    variables: Mapping[str, str],
    python_image: str,
    echo: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> dict[str, str | None]:
    ran_before = starter.status(home).world is not None
    opened = starter.start(home)
    if ran_before:
        echo("The sandbox runs already; it goes on running when you stop JupyterLab.")
    else:
        stack.callback(starter.stop, home)
    return opened.environment(variables, run=opened.lab_run, python_image=python_image)


def _on_google(
    home: Path, project: str, variables: Mapping[str, str], python_image: str, echo: Callable[[str], None]
) -> dict[str, str | None]:
    """Return the environment of a lab on Google, with a new copy of gcloud's configuration."""
    folder = home / "google" / project
    shutil.rmtree(folder / "gcloud", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    changes = google_world.prepare(folder, project, RUN, variables, python_image)
    echo(
        f"The notebooks go to your project {project} on Google, and what they make is billed to it. It carries the "
        f'label {target.LABEL}={RUN}: `make sweep PROJECT={project} ARGS="--run {RUN}"` lists it when you are done.'
    )
    return changes


def _names_an_address(extra: Sequence[str]) -> bool:
    """Return whether the options contain an address, as on Binder. Jupyter accepts only one."""
    return any(one.partition("=")[0] in ("--ip", "--ServerApp.ip", "--NotebookApp.ip") for one in extra)


def command(notebooks: Path, extra: Sequence[str], server: str = "jupyterlab") -> list[str]:
    """Return Jupyter's command line, which listens on loopback only, with a token that Jupyter creates.

    Another server, such as a Hub's, has an address and a token of its own.
    """
    rc = str(_terminal_settings(notebooks.parent))
    return [
        sys.executable,
        "-m",
        server,
        *(["--ServerApp.ip=127.0.0.1"] if server == "jupyterlab" and not _names_an_address(extra) else []),
        f"--ServerApp.root_dir={notebooks}",
        # Not a login shell, which would read /etc/profile and reset PATH.
        f"--ServerApp.terminado_settings={ {'shell_command': ['bash', '--rcfile', rc]} }",
        f"--LabApp.app_settings_dir={notebooks.parent / 'settings'}",
        f"--LabApp.workspaces_dir={notebooks.parent / 'workspaces'}",
        f"--NotebookNotary.db_file={_signatures(notebooks.parent)}",
        f"--NotebookNotary.secret_file={_secret(notebooks.parent)}",
        "--LabApp.default_url=/lab/tree/00_start_here.ipynb",
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        *extra,
    ]


def _serve(line: Sequence[str], environment: dict[str, str]) -> int:
    # A session of its own, so that Ctrl-C doesn't reach Jupyter, which would ask for confirmation. It gets SIGTERM.
    jupyter = subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return jupyter.wait()
    finally:
        if jupyter.poll() is None:
            jupyter.send_signal(signal.SIGTERM)
            try:
                jupyter.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(jupyter.pid, signal.SIGKILL)
                jupyter.wait()
