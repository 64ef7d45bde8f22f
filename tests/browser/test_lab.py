"""A lesson in the real JupyterLab, in a real browser: an exercise done, missed and solved, the fold, themes, keyboard.

Needs Chromium (Debian: the package chromium), a Docker Engine, and npm for axe-core. `make soak` runs it;
`WORKBOOK_PICTURES=folder` keeps pictures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chrome
from tests.browser.test_site import axe, keep_picture

__all__ = ["axe"]

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 1366, 768
_CODES = {"Enter": 13}
_SHIFT = 8  # as the browser's protocol counts modifiers
# Only what our cells put out: JupyterLab's own frame is JupyterLab's.
_AXE = """
axe.run({include: [['.jp-OutputArea-output']]}, {resultTypes: ['violations']})
  .then(found => JSON.stringify(found.violations.filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => `${one.id}: ${one.nodes[0].target} ${one.nodes[0].failureSummary}`)))
"""
_PANEL = """
window.panel = () => [...jupyterapp.shell.widgets('main')].find(one => one.context && one.isVisible); true
"""

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="make soak looks at a lesson in a browser"),
    pytest.mark.skipif(chrome.find() is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
    pytest.mark.docker,
]


@dataclass
class Lab:
    """JupyterLab in a tab, on its first notebook."""

    tab: chrome.Tab
    home: Path
    address: str
    token: str

    def ask(self, script: str) -> Any:
        return self.tab.ask(script)

    def until(self, script: str, seconds: float = 60.0) -> None:
        """Wait until an expression of the page is true."""
        # The page looks itself: questions without a pause would leave it no time to go on.
        came = self.ask(
            f"new Promise(then => {{const end = Date.now() + {seconds * 1000};"
            f"const look = () => ({script}) ? then(true) : Date.now() > end ? then(false) : setTimeout(look, 50);"
            "look()})"
        )
        assert came, f"never true: {script}"

    def open(self, notebook: str) -> None:
        """Open a notebook and wait for its kernel."""
        path = json.dumps(notebook)
        self.ask(f"jupyterapp.commands.execute('docmanager:open', {{path: {path}}}).then(() => true)")
        self.until(f"panel()?.context?.path === {path}")
        # A page that nobody clicked on has no current document.
        self.ask("jupyterapp.shell.activateById(panel().id), true")
        self.until("panel()?.sessionContext?.session?.kernel?.status === 'idle'")
        self.until("panel().content.widgets.length > 3")

    def write(self, cell: str, source: str) -> None:
        self.ask(f"{_cell(cell)}.model.sharedModel.setSource({json.dumps(source)}), true")

    def run(self, cell: str) -> str:
        """Run a cell as Shift+Enter does; gives what stands under it."""
        self.ask(
            f"(async () => {{const all = panel().content; all.deselectAll();"
            f" all.activeCellIndex = all.widgets.indexOf({_cell(cell)});"
            " await jupyterapp.commands.execute('notebook:run-cell'); return true})()"
        )
        # The reply may overtake the last output; a repaint shows both.
        self.ask("new Promise(then => requestAnimationFrame(() => requestAnimationFrame(then)))")
        return str(
            self.ask(
                f"{_cell(cell)}.outputArea.model.toJSON().map(one => [one.text ?? '', one.traceback ?? '',"
                " one.data?.['text/plain'] ?? ''].flat(9).join('')).join('\\n')"
            )
        )

    def press(self, key: str, modifiers: int = 0) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.tab.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                modifiers=modifiers,
                windowsVirtualKeyCode=_CODES[key],
            )


def _cell(name: str) -> str:
    return f"panel().content.widgets.find(one => one.model.id === {json.dumps(name)})"


@pytest.fixture(scope="module")
def lab(python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    home = folder / "world"
    command = [sys.executable, "-m", "cli.main", "lab", "--home", str(home), "--", "--no-browser"]
    command += [f"--port={_free_port()}", "--LabApp.expose_app_in_browser=True"]
    environment = dict(os.environ) | {
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            found = next(
                (one for line in process.stdout if (one := re.search(r"(http://127\S+?)/lab\S*\?token=(\w+)", line))),
                None,
            )
            assert found
            # What nobody reads would fill the pipe, and JupyterLab would stand.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            program = chrome.find()
            assert program
            with chrome.open_tab(program, folder / "profile") as tab:
                opened = Lab(tab, home, found[1], found[2])
                tab.look_as(WIDTH, HEIGHT, "light")
                tab.open(f"{found[1]}/lab/tree/00_start_here.ipynb?token={found[2]}")
                opened.until("window.jupyterapp?.commands.hasCommand('docmanager:open')", 120)
                opened.ask("jupyterapp.restored.then(() => true)")
                opened.ask(_PANEL)
                opened.open("00_start_here.ipynb")
                yield opened
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def begun(lab: Lab) -> Lab:
    """The first notebook, its first cell run, and its first exercise not done."""
    (lab.home / "hello.txt").unlink(missing_ok=True)
    (lab.home / "progress.jsonl").unlink(missing_ok=True)
    lab.ask("panel().sessionContext.session.kernel.restart().then(() => true)")
    lab.until("panel().sessionContext.session.kernel.status === 'idle'")
    assert "Project" in lab.run("setup")
    return lab


def test_a_copy_opens_quiet_trusted_and_without_anybody_s_outputs(lab: Lab) -> None:
    cells = "panel().content.widgets"
    assert lab.ask(f"{cells}.filter(one => one.model.type === 'code').every(one => one.model.trusted)")
    assert not lab.ask("document.querySelectorAll('.Toastify__toast, .jp-Dialog').length")
    assert not lab.ask("panel().context.model.dirty")
    names = "[...document.querySelectorAll('.jp-DirListing-itemName')]"
    lab.until(f"{names}.length >= 11")
    keep_picture(lab.tab, "lab.png")
    assert lab.ask(f"{names}.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)") == []


def test_an_exercise_done_wrongly_twice_and_then_right(begun: Lab) -> None:
    begun.write(
        "exercise", "import os, pathlib\npathlib.Path(os.environ['WORKBOOK_HOME'], 'hello.txt').write_text('no')"
    )
    begun.run("exercise")
    first = begun.run("check")
    assert "✗ hello.txt names your project: wrong, because it says 'no'" in first
    assert first.count("Hint:") == 1
    begun.run("check")
    assert begun.run("check").count("Hint:") == 2
    begun.write("exercise", '%%terminal\necho "$PROJECT_ID" > "$WORKBOOK_HOME/hello.txt"')
    begun.run("exercise")
    assert begun.run("check").startswith("✓ hello.txt names your project")
    for solution in ("solution-terminal", "solution"):
        assert "is done already" in begun.run(solution)


def test_an_exercise_done_by_the_solution_only_when_somebody_asks(begun: Lab) -> None:
    begun.write("exercise", "# Write your code here.")
    begun.run("exercise")
    assert begun.run("check").startswith("○ ")
    assert "did not run" in begun.run("solution")
    assert not (begun.home / "hello.txt").exists()
    source = begun.ask(f"{_cell('solution')}.model.sharedModel.getSource()")
    begun.write("solution", source.replace("solution(1)", "solution(1, run=True)"))
    begun.run("solution")
    assert begun.run("solution-check").startswith("✓ ")
    begun.write("solution", source)


def test_a_folded_solution_shows_nothing_of_itself(lab: Lab) -> None:
    shown = lab.ask(
        f"(async () => {{const all = panel().content;"
        f" await all.scrollToCell({_cell('solution')});"
        f" return {_cell('solution')}.node.innerText}})()"
    )
    assert "write_text" not in shown
    assert "PROJECT_ID" not in shown


def test_the_keyboard_alone_does_an_exercise(begun: Lab) -> None:
    """Shift+Enter from the top to the exercise, Enter to write into it, and Shift+Enter for it and its check."""
    begun.write("exercise", "")
    begun.ask("jupyterapp.commands.execute('notebook:enter-command-mode').then(() => true)")
    begun.ask("panel().content.activeCellIndex = 0, panel().content.node.focus(), true")
    cells: list[str] = begun.ask("panel().content.widgets.map(one => one.model.id)")
    for following in cells[1 : cells.index("exercise") + 1]:
        begun.press("Enter", _SHIFT)
        begun.until(f"panel().content.activeCell.model.id === {json.dumps(following)}")
    begun.until("panel().sessionContext.session.kernel.status === 'idle'")
    begun.press("Enter")
    begun.until("panel().content.mode === 'edit'")
    begun.tab.call("Input.insertText", text='%%terminal\necho "$PROJECT_ID" > "$WORKBOOK_HOME/hello.txt"')
    begun.press("Enter", _SHIFT)
    begun.until("panel().content.activeCell.model.id === 'check'")
    begun.press("Enter", _SHIFT)
    begun.until(f"JSON.stringify({_cell('check')}.outputArea.model.toJSON()).includes('✓ hello.txt')")


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on the PATH, which fetches axe-core")
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_what_our_cells_show_is_legible_in_both_themes(theme: str, begun: Lab, request: pytest.FixtureRequest) -> None:
    source: Callable[[], str] | str = request.getfixturevalue("axe")
    begun.ask(f"jupyterapp.commands.execute('apputils:change-theme', {{theme: {json.dumps(theme)}}}).then(() => true)")
    begun.until(f"document.body.dataset.jpThemeName === {json.dumps(theme)}")
    begun.run("tools")
    begun.write(
        "exercise",
        "from helpers import pictures, show\n"
        "show.display(show.table([('a', '1 B')], ('name', 'size')))\n"
        "pictures.tags([])",
    )
    begun.run("exercise")
    begun.run("check")
    begun.ask(f"panel().content.scrollToCell({_cell('exercise')}).then(() => true)")
    keep_picture(begun.tab, f"lab-{theme.rpartition(' ')[2].lower()}.png")
    begun.ask(f"{source}; true")
    assert begun.ask("document.querySelectorAll('.jp-OutputArea-output').length") > 0
    assert json.loads(begun.ask(_AXE)) == []


def test_no_command_runs_off_the_screen(lab: Lab) -> None:
    """At the width of the usual small laptop, with the file browser open."""
    wide: list[str] = []
    lab.ask(f"panel().content.scrollToCell({_cell('setup')}).then(() => true)")
    # How many letters fit into a line of an editor.
    fit = lab.ask(
        f"(() => {{const editor = {_cell('setup')}.editor.editor;"
        " return Math.floor((editor.scrollDOM.clientWidth - 12) / editor.defaultCharacterWidth)})()"
    )
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code" and not cell["metadata"].get("jupyter", {}).get("source_hidden"):
                lines = "".join(cell["source"]).splitlines()
                wide += [f"{path.name}#{cell['id']}: {len(one)} letters" for one in lines if len(one) > fit]
    assert not wide, f"{fit} letters fit\n" + "\n".join(wide)
