"""The gravest faults, planted in the real notebooks, are reported with the notebook and the cell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cli import doctor
from cli.run import execution
from helpers.cell import documents
from helpers.target import Target
from tests.notebooks.messages import sayings, unsaid
from tests.notebooks.shape import FOLDER, RULES, read
from tests.notebooks.stored import disagreements

NAMES = {path.name for path in FOLDER.glob("[0-9][0-9]_*.ipynb")}
soak = pytest.mark.skipif(not os.environ.get("WORKBOOK_SOAK"), reason="long: make soak")


def real(number: int) -> Path:
    return next(FOLDER.glob(f"{number:02}_*.ipynb"))


def cell_of(book: Any, name: str) -> Any:
    return next(cell for cell in book["cells"] if cell["id"] == name)


@soak
@pytest.mark.usefixtures("gcloud", "in_world")
def test_renamed_flag_is_reported_with_its_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = nbformat.read(real(2), as_version=4)
    cell = cell_of(book, "create")
    cell.source = cell.source.replace("--repository-format", "--repository-form-at")
    nbformat.write(book, tmp_path / real(2).name)
    monkeypatch.setattr(documents, "notebooks", lambda: (tmp_path / real(2).name,))
    [refused] = doctor.diagnose().refused
    assert refused.where == f"{real(2).name}#create"
    assert "--repository-form-at" in refused.reason


def test_stale_output_is_reported_with_its_cell(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = real(1).read_text(encoding="utf-8")
    stale = text.replace("lifecycleState: ACTIVE", "lifecycleState: DELETE_REQUESTED")
    assert stale != text
    [found] = disagreements(stale, text, tmp_path, request.session)
    assert found.startswith("describe: its outputs differ")
    assert "DELETE_REQUESTED" in found


def test_output_with_a_token_is_reported_with_its_cell() -> None:
    book = read(real(3))
    cell_of(book, "login")["outputs"][0]["text"] = "ya29." + "a0AfH6SM\n"
    assert [cell for cell, _ in RULES["secret"](real(3).name, book, NAMES)] == ["login"]


def test_changed_price_is_reported_with_its_cell() -> None:
    book = read(real(8))
    cell = cell_of(book, "step-bill")
    cell["source"] = cell["source"].replace("0.10 USD", "0.20 USD")
    assert [cell for cell, _ in RULES["price"](real(8).name, book, NAMES)] == ["step-bill"]


def test_changed_message_is_reported_with_its_cell() -> None:
    others = {
        who: tuple(
            text.replace("is tagged", "carries tags").replace("Unauthenticated request", "Who is it") for text in texts
        )
        for who, texts in sayings().items()
    }
    for number, message in ((3, "`Unauthenticated request`"), (8, "because it is tagged`")):
        assert [cell for cell, why in unsaid(read(real(number)), others) if message in why] == ["now-you-have"]


def test_import_across_the_rules_is_found(tmp_path: Path) -> None:
    from tests.docs import test_boundaries

    file = tmp_path / "retention.py"
    file.write_text("from helpers import billing\nimport sandbox.state.world\n", encoding="utf-8")
    assert test_boundaries._under(test_boundaries._of(file), "sandbox") == {"sandbox.state.world"}


@soak
@pytest.mark.parametrize(
    ("cell", "source", "says"),
    [
        ("check", 'from helpers.checks import check, done\n\ncheck("hello.txt names your project", lambda: True)', ""),
        ("solution", "import os\nfrom pathlib import Path", "NotDone: ○ hello.txt names your project"),
    ],
    ids=["a check that can't fail", "an exercise that nobody solved"],
)
def test_check_that_cannot_fail_and_unsolved_exercise_are_reported(
    cell: str,
    source: str,
    says: str,
    in_world: Target,
    python_image: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHON_IMAGE", python_image)
    book: Any = nbformat.read(real(0), as_version=4)
    cell_of(book, cell).source = source
    if cell == "check":
        done = cell_of(book, "solution-check")
        done.source = done.source.replace("greeted", "lambda: True")
        cell_of(book, "solution").source = "import os\nfrom pathlib import Path\nhello = Path('hello.txt')"
    path = tmp_path / real(0).name
    nbformat.write(book, path)
    result = execution.execute(path, tmp_path / "ran.ipynb", {})
    if says:
        assert result.failure is not None
        assert result.failure.cell_id == "solution-check"
        assert says in result.failure.error
        return
    assert result.failure is None, result.failure
    found = list(disagreements(_recorded(path), _recorded(tmp_path / "ran.ipynb"), tmp_path, request.session))
    assert any(one.startswith("check: its outputs differ") for one in found), found


def _recorded(path: Path) -> str:
    from cli.record import record

    return record.canonical(nbformat.read(path, as_version=4))


def test_link_without_a_target_is_reported() -> None:
    book = read(real(4))
    book["cells"][-1]["source"] = book["cells"][-1]["source"].replace("05_tag_images", "05_tags")
    assert {cell for cell, _ in RULES["next"](real(4).name, book, NAMES)} == {"next"}
