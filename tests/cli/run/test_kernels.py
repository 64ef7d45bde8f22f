"""The kernel in reserve: it is another process, it is used once, and none is left over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import nbformat
import pytest

from cli.run import execution, kernels

NotebookWriter = Callable[..., Path]


@pytest.fixture
def spare(tmp_path: Path) -> Iterator[kernels.Spare]:
    with closing(kernels.Spare(tmp_path / "kernel.log")) as made:
        yield made


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_notebook_runs_in_the_kernel_that_was_kept_for_it(
    spare: kernels.Spare, write_notebook: NotebookWriter, tmp_path: Path
) -> None:
    path = write_notebook("00_start.ipynb", "import os; print(os.getpid(), os.getcwd())")
    spare.prepare(path)
    kernel = spare.take(path)
    pid = kernel.provisioner.pid
    assert spare.take(path) is None
    result = execution.execute(path, tmp_path / "out.ipynb", {}, kernel=kernel)
    assert result.status == "ok"
    printed = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs[0].text
    assert printed == f"{pid} {path.parent.resolve()}\n"
    assert not is_alive(pid)


def test_a_notebook_without_one_starts_its_own(
    spare: kernels.Spare, write_notebook: NotebookWriter, tmp_path: Path
) -> None:
    path = write_notebook("00_start.ipynb", "print('here')")
    spare.prepare(path)
    assert spare.take(path.with_name("01_other.ipynb")) is None
    assert execution.execute(path, tmp_path / "out.ipynb", {}).status == "ok"


def test_the_kernel_has_made_the_notebook_s_imports_and_keeps_no_name_of_them(
    spare: kernels.Spare, write_notebook: NotebookWriter, tmp_path: Path
) -> None:
    path = write_notebook(
        "00_start.ipynb",
        "print([one for one in ('colorsys', 'this', 'wave') if one in __import__('sys').modules])",
        "print([one for one in ('colorsys', 'name', 'names', 'wave') if one in globals()], Out)",
        "if False:\n    import this",
        "%%terminal\nimport this",
    )
    later = write_notebook("01_later.ipynb", "import wave", "from colorsys import hsv_to_rgb, nothing", "import 1")
    assert kernels.imported(later) == [("wave", []), ("colorsys", ["hsv_to_rgb", "nothing"])]
    assert kernels.imported(path) == []
    spare.prepare(later)
    kernel = spare.take(later)
    execution.execute(path, tmp_path / "out.ipynb", {}, kernel=kernel)
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    printed = [cell.outputs[0].text for cell in cells if cell.get("id", "") in ("cell-0", "cell-1")]
    assert printed == ["['colorsys', 'wave']\n", "[] {}\n"]


def test_a_kernel_that_nobody_took_is_ended(write_notebook: NotebookWriter, tmp_path: Path) -> None:
    path = write_notebook("00_start.ipynb", "print('here')")
    with closing(kernels.Spare(tmp_path / "kernel.log")) as spare:
        spare.prepare(path)
        kernel = spare.take(path)
        pid = kernel.provisioner.pid
        # Given back, so that its number is known.
        spare._manager = kernel
        assert is_alive(pid)
    assert not is_alive(pid)
