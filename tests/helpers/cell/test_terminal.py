"""Terminal cells, run by the real bash."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import target
from helpers.cell import terminal
from helpers.cell.terminal import CommandFailed

ROOT = Path(__file__).resolve().parents[3]
VALUES = {
    "WORKBOOK_TARGET": "sandbox",
    "PROJECT_ID": "ml-workbook-lab",
    "REGION": "us-central1",
    "REPOSITORY": "ml-images",
    "IMAGE": "ml-predictor",
    "REGISTRY_HOST": "localhost:5001",
    "REGISTRY": "localhost:5001/us-central1-docker.pkg.dev",
    "REGISTRY_URL": "http://localhost:5001",
    "WORKBOOK_RUN": "lab",
}


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "journal.jsonl"
    monkeypatch.setenv("WORKBOOK_JOURNAL", str(path))
    monkeypatch.setattr(terminal, "_said", set())
    for name, value in VALUES.items():
        monkeypatch.setenv(name, value)
    return path


def output_of(script: str, **options: str) -> str:
    said: list[str] = []
    terminal.run(script, write=said.append, **options)
    return "".join(said)


def test_both_streams_come_in_order_from_the_repositorys_root() -> None:
    assert output_of("pwd; echo error >&2; echo after") == f"{ROOT}\nerror\nafter\n"


@pytest.mark.parametrize("script", ["false; echo on", "false | cat; echo on", "echo $NO_SUCH_VARIABLE_HERE; echo on"])
def test_the_first_failure_stops_the_cell(script: str) -> None:
    said: list[str] = []
    with pytest.raises(CommandFailed, match="exit status"):
        terminal.run(script, write=said.append)
    assert "on\n" not in said


def test_output_is_shown_as_it_comes(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    seen: list[str] = []

    def write(text: str) -> None:
        seen.append(text)
        if text == "first\n":
            gate.touch()

    terminal.run(f"echo first; until [ -e {gate} ]; do sleep 0.01; done; echo second", write=write)
    assert seen == ["first\n", "second\n"]


def test_a_python_program_keeps_no_lines_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    assert output_of('echo "$PYTHONUNBUFFERED"') == "1\n"


def test_bars_collapse_and_colours_go() -> None:
    assert output_of(r"printf '10%%\r50%%\r100%%\n\033[31mred\033[0m\r\n'; printf end") == "100%\nred\nend\n"


def test_nothing_is_read_from_the_notebooks_input() -> None:
    with pytest.raises(CommandFailed):
        output_of("read answer")


def test_a_background_process_doesnt_hold_the_cell() -> None:
    started = time.monotonic()
    assert output_of("sleep 30 & echo done; kill -0 $!; trap 'kill $!' EXIT") == "done\n"
    assert time.monotonic() - started < 10


def test_refused_wants_failure_and_text() -> None:
    assert output_of("echo denied: no right; exit 3", refused="denied") == (
        "denied: no right\nRefused, as expected: exit status 3.\n"
    )
    with pytest.raises(CommandFailed, match="went through"):
        output_of("echo denied", refused="denied")
    with pytest.raises(CommandFailed, match="doesn't say 'denied'"):
        output_of("echo other; false", refused="denied")


def test_refused_takes_the_status_of_a_docker_that_keeps_the_sentence_and_says_so() -> None:
    said = "unexpected status from PUT request to http://localhost:5001/v2/p/manifests/1: "
    shown = output_of(f"echo '{said}400 Bad Request'; false", refused="tag immutability")
    assert shown.endswith("This docker keeps the registry's words to itself:\n… tag immutability …\n")
    with pytest.raises(CommandFailed, match="doesn't say"):
        output_of(f"echo '{said}404 Not Found'; false", refused="tag immutability")


def test_refused_may_be_written_as_on_google() -> None:
    script = "echo unauthorized: localhost:5001/us-central1-docker.pkg.dev/p; false"
    assert "Refused" in output_of(script, refused="unauthorized: us-central1-docker.pkg.dev/p")


def test_how_a_name_reads_on_google_stands_last_and_once_for_each_form() -> None:
    script = """
docker() { echo "docker $1"; }
docker push $REGISTRY/$PROJECT_ID/$REPOSITORY/$IMAGE:v1
docker pull --quiet \\
  "$REGISTRY/$PROJECT_ID/$REPOSITORY/$IMAGE:v2"
false
"""
    name = "us-central1-docker.pkg.dev/ml-workbook-lab/ml-images/ml-predictor"
    shown = output_of(script, refused="docker")
    assert shown == f"docker push\ndocker pull\nRefused, as expected: exit status 1.\n\nOn Google: {name}:v1\n"
    assert output_of("docker() { :; }; docker push $REGISTRY/$PROJECT_ID/$REPOSITORY/$IMAGE:v3") == ""
    by_digest = "docker() { :; }\ndocker pull $REGISTRY/$PROJECT_ID/$REPOSITORY/$IMAGE@sha256:0a"
    assert output_of(by_digest) == f"\nOn Google: {name}@sha256:0a\n"


def test_no_line_where_docker_names_no_image() -> None:
    assert output_of("true $REGISTRY/a:1; echo $REGISTRY/quiet") == "localhost:5001/us-central1-docker.pkg.dev/quiet\n"
    assert output_of("docker() { :; }; docker login $REGISTRY_HOST") == ""


def test_secrets_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "admin-token").write_text("s3cret-admin\n")
    monkeypatch.setenv("WORKBOOK_HOME", str(tmp_path))
    token = "ya29.a0Af_x-y.z"
    jwt = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"
    shown = output_of(f"""echo {token}; echo '{jwt}'; echo s3cret-admin; echo '"auth": "b2F1dGgyOnRva2Vu"'""")
    assert shown == '[token]\n[token]\n[token]\n"auth": "[token]"\n'


def test_journal_tells_what_ran(journal: Path) -> None:
    output_of("true\necho hello > /dev/null")
    (entry,) = [json.loads(line) for line in journal.read_text().splitlines()]
    assert entry["commands"] == ["true", "echo hello > /dev/null"]
    assert entry["ran"] is True


def test_without_gcloud_the_cell_says_so_and_goes_on(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    monkeypatch.setenv("PATH", str(bin_folder))
    shown = output_of("gcloud config list\necho host | docker-credential-gcloud get")
    assert shown.startswith("Not run: gcloud isn't on the PATH.")
    (entry,) = [json.loads(line) for line in journal.read_text().splitlines()]
    assert entry["ran"] is False
    assert len(entry["commands"]) == 2
    assert output_of("echo no gcloud here") == "no gcloud here\n"


def _path_with_gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> Path:
    """A PATH of bash and a gcloud that prints a word; returns its one folder."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    (bin_folder / "gcloud").write_text(f"#!/bin/bash\necho {says}\n")
    (bin_folder / "gcloud").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder))
    return bin_folder


def test_a_scan_without_gcloud_s_component_is_not_run_and_says_how_to_get_it(
    journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = _path_with_gcloud(tmp_path, monkeypatch, "scanned")
    scan = 'found="$(\n  gcloud artifacts docker images scan "$IMAGE" \\\n    2>/dev/null\n)"\necho "$found"'
    shown = output_of(scan)
    assert shown.startswith("Not run: gcloud's component local-extract isn't installed. Add it with `gcloud components")
    (entry,) = [json.loads(line) for line in journal.read_text().splitlines()]
    assert entry["ran"] is False
    # Google reads an image that it holds itself.
    assert output_of("gcloud artifacts docker images scan a --remote") == "scanned\n"
    (bin_folder / "local-extract").touch()
    assert output_of(scan) == "scanned\n"


def test_a_beta_command_without_its_component_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gcloud would ask whether to install it, and a cell can't answer."""
    _path_with_gcloud(tmp_path, monkeypatch, "ran")
    assert output_of("gcloud beta builds submit").startswith("Not run: gcloud's component beta isn't installed. Add it")
    assert output_of("gcloud builds submit") == "ran\n"
    (tmp_path / "lib/surface/beta").mkdir(parents=True)
    (tmp_path / "lib/surface/beta/__init__.py").touch()
    assert output_of("gcloud beta builds submit") == "ran\n"


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="--refused TEXT"):
        terminal.terminal("--refuse x", "true")


def test_interrupt_stops_what_the_cell_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # A shell's background job ignores Ctrl-C, and so does what it starts, these tests among them.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from helpers.cell import terminal; "
        f"terminal.run('echo $$ > {pid_file}; echo running; sleep 300; true')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_in_ipython_the_magic_and_the_bang_both_fail_the_cell() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    terminal.load(shell)
    failed = shell.run_cell("%%terminal\nfalse")
    assert isinstance(failed.error_in_exec, CommandFailed)
    assert shell.run_cell("%%terminal --refused 'no such'\necho no such thing; false").success
    assert not shell.run_cell("!false").success


def test_target_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBOOK_TARGET")
    with pytest.raises(target.NoTarget):
        target.current()
    assert output_of("echo localhost:5001") == "localhost:5001\n"


def test_a_refusal_that_goes_away_is_met_by_another_run(tmp_path: Path) -> None:
    said = output_of(
        f"echo x >> {tmp_path}/tries; test -s {tmp_path}/granted || {{ touch {tmp_path}/granted; "
        f"echo yes > {tmp_path}/granted; echo denied; false; }}",
        retry="denied",
    )
    assert said.startswith("denied\nNot yet, as after any change of roles or APIs. Again in 1 s.\n")
    assert (tmp_path / "tries").read_text() == "x\nx\n"


def test_another_failure_is_not_met_by_another_run(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed):
        output_of(f"echo x >> {tmp_path}/tries; echo a typo; false", retry="denied")
    assert (tmp_path / "tries").read_text() == "x\n"


def test_a_cell_that_did_its_work_before_goes_on() -> None:
    said: list[str] = []
    terminal.run("echo ALREADY_EXISTS: it is there; exit 1", again="ALREADY_EXISTS", write=said.append)
    assert said[-1] == "An earlier run of this cell did it already.\n"
    with pytest.raises(terminal.CommandFailed):
        terminal.run("echo PERMISSION_DENIED; exit 1", again="ALREADY_EXISTS", write=said.append)
