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
    spare.prepare(path.parent)
    kernel = spare.take(path.parent)
    pid = kernel.provisioner.pid
    assert spare.take(path.parent) is None
    result = execution.execute(path, tmp_path / "out.ipynb", {}, kernel=kernel)
    assert result.status == "ok"
    printed = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1].outputs[0].text
    assert printed == f"{pid} {path.parent.resolve()}\n"
    assert not is_alive(pid)


def test_a_notebook_without_one_starts_its_own(
    spare: kernels.Spare, write_notebook: NotebookWriter, tmp_path: Path
) -> None:
    path = write_notebook("00_start.ipynb", "print('here')")
    spare.prepare(tmp_path)
    assert spare.take(path.parent / "elsewhere") is None
    assert execution.execute(path, tmp_path / "out.ipynb", {}).status == "ok"


def test_a_kernel_that_nobody_took_is_ended(tmp_path: Path) -> None:
    with closing(kernels.Spare(tmp_path / "kernel.log")) as spare:
        spare.prepare(tmp_path)
        kernel = spare.take(tmp_path)
        pid = kernel.provisioner.pid
        # Given back, so that its number is known.
        spare._manager = kernel
        assert is_alive(pid)
    assert not is_alive(pid)
