"""The `%%terminal` cell, which runs plain bash, as in a terminal, with `-euo pipefail`.

The cell raises CommandFailed at the first command that fails, also in a pipeline, and at an unset variable.
Options: `--solution N` marks the solution of exercise N, which runs only with `--run`, or in a run of all notebooks.
`--refused TEXT` expects the cell to fail with TEXT in its output. `--retry TEXT` repeats the cell for some minutes
while it fails with TEXT in its output, for a role or an API that takes a while to take effect. `--again TEXT` accepts
a failure with TEXT as the work of an earlier run of the cell.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import html
import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from helpers import target
from helpers.cell import addresses, commands, mistakes, progress, refusals, rich
from helpers.cell.rich import Rich
from helpers.target import ROOT
from machine import gcloud_components

# A background process may hold the output open after bash has ended. Its output is shown for this long.
_LINGER_SECONDS: Final = 0.5
# https://cloud.google.com/iam/docs/access-change-propagation: 2 minutes, "in some cases, it can take 7 minutes or more"
_RETRY_SECONDS: Final = 480.0
_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\-_])")
_SECRETS: Final = (
    re.compile(r"ya29\.[\w.\-]+"),
    re.compile(r"eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"),
    re.compile(r'(?<="auth": ")[^"]+|(?<="identitytoken": ")[^"]+|(?<="auth":")[^"]+|(?<="identitytoken":")[^"]+'),
)
# The forms of an image's name for which a note was shown.
_said: set[str] = set()


class CommandFailed(Exception):
    """A terminal cell didn't end as expected. `status` is bash's exit status, `output` its whole output."""

    def __init__(self, message: str, status: int, output: str) -> None:
        super().__init__(message)
        self.status = status
        self.output = output

    def _render_traceback_(self) -> list[str]:
        return [f"CommandFailed: {self}"]


class _BadOption(ValueError):
    def _render_traceback_(self) -> list[str]:
        return [f"%%terminal: {self}"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _BadOption(f"{message}. Write %%terminal, %%terminal --refused TEXT or --retry TEXT.")


class _Gate:
    """The function that decides whether a solution's cell runs."""

    solution: Callable[..., bool] | None = None


def load(shell: Any, solution: Callable[..., bool] | None = None) -> None:
    """Register the magic with an IPython shell, and make a cell fail with its `!command`.

    Args:
        solution: `helpers.exercises.solution`, for `%%terminal --solution N`.
    """
    _Gate.solution = solution or _Gate.solution
    shell.register_magic_function(terminal, magic_kind="cell", magic_name="terminal")
    shell.system_raise_on_error = True


def terminal(line: str, cell: str) -> None:
    """Run a `%%terminal` cell. Raises CommandFailed."""
    parser = _Parser(prog="%%terminal", add_help=False, allow_abbrev=False)
    parser.add_argument("--refused", default=None)
    parser.add_argument("--retry", default=None)
    parser.add_argument("--again", default=None)
    parser.add_argument("--solution", type=int, default=None)
    parser.add_argument("--run", action="store_true")
    options = parser.parse_args(shlex.split(line))
    number = options.solution
    if number is not None and _Gate.solution is not None and not _Gate.solution(number, run=options.run):
        return
    run(cell, refused=options.refused, retry=options.retry, again=options.again)


def run(
    script: str,
    *,
    refused: str | None = None,
    retry: str | None = None,
    again: str | None = None,
    write: Callable[[str], object] | None = None,
) -> None:
    """Run the script with bash in the repository's root, show its output as it comes, and write to the journal.

    Raises CommandFailed when it fails, or, with `refused`, when it doesn't fail with that text. With `retry`, a failure
    with that text leads to another run after a pause, for up to eight minutes. With `again`, a failure with that text
    is accepted.
    """
    show = write or _write
    needing = commands.needing_gcloud(script)
    started = time.monotonic()
    absent = [
        tool for tool in ("gcloud", "docker-credential-gcloud") if _uses(needing, tool) and not shutil.which(tool)
    ]
    down = mistakes.sandbox_down(os.environ) if needing or "docker" in script or "curl" in script else ""
    if down:
        raise CommandFailed(down, 1, "")
    if absent:
        reason = f"{absent[0]} isn't on the PATH"
        show(f"Not run: {reason}. Install the Google Cloud CLI to run it; the Python cells reach the same state.\n")
        _note(needing, ran=False, reason=reason, seconds=0.0)
        return
    needed = commands.components(script)
    lacking = sorted(needed.intersection(gcloud_components.missing())) if needed else []
    if lacking:
        reason = f"gcloud's component {lacking[0]} isn't installed"
        show(f"Not run: {reason}. {gcloud_components.ways(lacking[0])}\n")
        _note(needing, ran=False, reason=reason, seconds=0.0)
        return
    output, status = _stream(script, show)
    pause = 1.0
    while retry and status != 0 and retry in output and time.monotonic() - started + pause < _RETRY_SECONDS:
        show(f"Not yet, as after any change of roles or APIs. Again in {pause:g} s.\n")
        time.sleep(pause)
        pause = min(pause * 2, 30.0)
        output, status = _stream(script, show)
    _note(commands.split(script), ran=True, reason="", seconds=time.monotonic() - started)
    if again and status != 0 and again in output:
        show("An earlier run of this cell did it already.\n")
    else:
        _evaluate(script, refused, status, output, show)
    addresses.show(output, os.environ, show)
    _show_on_google(script, write)


def _evaluate(script: str, refused: str | None, status: int, output: str, show: Callable[[str], object]) -> None:
    """Raise CommandFailed unless the cell ended as it should."""
    if refused is None:
        if status != 0:
            hint = mistakes.after_failure(script, os.environ, output)
            raise CommandFailed(f"{_why(status)}\n{hint}".rstrip(), status, output)
        return
    if status == 0:
        raise CommandFailed(f"This was expected to be refused with {refused!r}, and it went through.", status, output)
    if refused not in output and refused not in target.current().canonical(output):
        if refusals.keeps_sentence(output, refused):
            show(f"Refused, as expected: exit status {status}. This docker keeps the registry's words to itself:\n")
            show(f"… {refused} …\n")
            return
        raise CommandFailed(
            f"This was refused (exit status {status}), but its output doesn't say {refused!r}.", status, output
        )
    show(f"Refused, as expected: exit status {status}.\n")


def redact(text: str) -> str:
    """Return the text with tokens, keys and passwords replaced by `[token]`."""
    for secret in _known_secrets():
        text = text.replace(secret, "[token]")
    for pattern in _SECRETS:
        text = pattern.sub("[token]", text)
    return text


def collapse(line: str) -> str:
    """Return the visible part of a line with carriage returns, without colours."""
    parts = [part for part in _ESCAPE.sub("", line).split("\r") if part]
    return parts[-1] if parts else ""


def on_google(script: str, here: target.Target, values: Mapping[str, str]) -> dict[str, str]:
    """Return the canonical names of images that the script's docker commands name with the sandbox's address.

    There is at most one for each form of name, `tag`, `digest` and `image`, which are the keys.
    """
    found: dict[str, str] = {}
    if not here.shows_sandbox(here.registry_host):
        return found
    for command in commands.split(script):
        if commands.uses(command, "docker"):
            for name in re.findall(
                rf"{re.escape(here.registry_host)}/[^\s\"'\\;|&)]+", commands.expand(command, values)
            ):
                last = name.rpartition("/")[2]
                form = "digest" if "@" in last else "tag" if ":" in last else "image"
                found.setdefault(form, here.canonical(name))
    return found


def _show_on_google(script: str, show: Callable[[str], object] | None) -> None:
    """Show the name on Google for each form of image name, once per kernel."""
    with contextlib.suppress(target.NoTarget):
        named = on_google(script, target.current(), os.environ)
        new = {form: redact(name) for form, name in named.items() if form not in _said}
        _said.update(new)
        for name in new.values():
            text = f"On Google: {name}"
            if show is None and rich.in_notebook():
                rich.show(Rich(text, f'<small style="opacity: 0.75">{html.escape(text)}</small>'))
            else:
                (show or _write)(f"\n{text}\n")


def _stream(script: str, show: Callable[[str], object]) -> tuple[str, int]:
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        # Otherwise gcloud, a Python program, prints the lines of a running build only when it has ended.
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines = []
    status = progress.Status(lambda: progress.running(process.pid))
    try:
        for line in _lines(process, status.tick):
            text = redact(collapse(line)) + "\n"
            lines.append(text)
            show(text)
        return "".join(lines), process.wait()
    except BaseException:
        _end_group(process)
        raise
    finally:
        status.close()
        if process.stdout:
            process.stdout.close()


def _lines(process: subprocess.Popen[bytes], waiting: Callable[[], object]) -> Iterator[str]:
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    descriptor = process.stdout.fileno()
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    held = ""
    ended_at: float | None = None
    while True:
        readable, _, _ = select.select([descriptor], [], [], 0.1)
        waiting()
        if readable:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            *complete, held = (held + decode(chunk)).split("\n")
            yield from complete
        if process.poll() is not None:
            ended_at = ended_at or time.monotonic()
            if not readable and time.monotonic() - ended_at > _LINGER_SECONDS:
                break
    held += decode(b"", True)
    if held:
        yield held


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Stop bash and its children, with SIGINT first, then SIGTERM and SIGKILL."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            continue
        return


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _uses(needing: tuple[str, ...], tool: str) -> bool:
    return any(commands.uses(command, tool) for command in needing)


def _why(status: int) -> str:
    if status > 128:
        return f"exit status {status}: stopped by signal {status - 128}."
    return f"exit status {status}. The last lines above say why."


def _known_secrets() -> tuple[str, ...]:
    home = os.environ.get("WORKBOOK_HOME")
    token = Path(home) / "admin-token" if home else None
    return (token.read_text(encoding="utf-8").strip(),) if token and token.is_file() else ()


def _note(lines: tuple[str, ...], *, ran: bool, reason: str, seconds: float) -> None:
    """Append an entry to the run's journal, from which the runner counts the commands that weren't run."""
    journal = os.environ.get("WORKBOOK_JOURNAL")
    if not journal:
        return
    entry = {
        "notebook": os.environ.get("WORKBOOK_NOTEBOOK", ""),
        "commands": list(lines),
        "ran": ran,
        "reason": reason,
        "seconds": round(seconds, 4),
    }
    with Path(journal).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
