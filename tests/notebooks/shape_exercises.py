"""Rules for exercises: their cells and the order of these, which are folded, and that a check can fail."""

from __future__ import annotations

import ast
import re

from tests.notebooks.shape import EXERCISE, Findings, Json, code, python, rule, tags, terminal

# The beginning of a cell that a reader with gcloud may skip.
SAME_IN_PYTHON = "# ▸ The same in Python: "


def _number(cell: Json) -> int:
    """Return the number of the exercise in a cell's call, or 0."""
    source = cell["source"]
    called = {"check": "exercise", "solution": "solution", "solution-check": "solved"}[tags(cell)[0]]
    found = re.search(rf"^(?:if )?{called}\(\s*(\d+)|^%%terminal --solution (\d+)$", source, re.MULTILINE)
    return int(found[1] or found[2]) if found else 0


@rule("exercise-order")
def _(name: str, book: Json, there: set[str]) -> Findings:
    order = [(cell["id"], tag) for cell in code(book) for tag in tags(cell) if tag in EXERCISE]
    # An exercise may have two solutions, for the terminal and in Python.
    shape = re.sub("(solution )+", "solution ", " ".join(f"{tag} " if tag == "solution" else tag for _, tag in order))
    found = [tag for place, (_, tag) in enumerate(order) if tag != "solution" or order[place - 1][1] != "solution"]
    if not order or found != list(EXERCISE) * (len(found) // len(EXERCISE)):
        yield (order or [(book["cells"][0]["id"], "")])[0][0], f"exercise, check, solution, check again; found {shape}"


@rule("exercise-numbers")
def _(name: str, book: Json, there: set[str]) -> Findings:
    number = 0
    for cell in code(book):
        if "exercise" in tags(cell):
            number += 1
        elif set(tags(cell)) & set(EXERCISE) and _number(cell) != number:
            yield cell["id"], f"this is exercise {number}; the cell calls it {_number(cell) or 'nothing'}"


@rule("exercise-checks")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if "check" not in tags(cell):
            continue
        calls = [node for node in ast.walk(ast.parse(cell["source"])) if isinstance(node, ast.Call)]
        found = [call for call in calls if ast.unparse(call.func) == "exercise"]
        if not found or len(found[0].args) != 5:
            yield cell["id"], 'a check ends in exercise(number, "title", look, "hint", "second hint")'
        for node in ast.walk(ast.parse(cell["source"])):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "Exception"
                if re.search(r"\b(NameError|Exception|BaseException)\b", caught):
                    yield cell["id"], f"except {caught} hides that the kernel doesn't know a name"


@rule("two-exercises")
def _(name: str, book: Json, there: set[str]) -> Findings:
    found = [cell["id"] for cell in code(book) if "exercise" in tags(cell)]
    if len(found) < 2:
        yield (found or [book["cells"][-1]["id"]])[0], f"a notebook has two exercises; found {found}"


@rule("unsolved-passes")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        said = "".join("".join(one.get("text", "")) for one in cell["outputs"])
        if said and "check" in tags(cell) and not re.search(r"^○ .*: not yet\n  Hint: ", said, re.MULTILINE):
            yield cell["id"], "before its solution a check says 'not yet', and gives a hint: this one can't fail"
        if said and "solution-check" in tags(cell) and not re.search(r"^✓ ", said, re.MULTILINE):
            yield cell["id"], "after its solution a check says ✓"


@rule("folded-solution")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        again = cell["source"].startswith(SAME_IN_PYTHON)
        if folded is not (again or bool({"check", "solution", "solution-check"} & set(tags(cell)))):
            yield cell["id"], "checks, solutions and what is the same in Python are folded, and nothing else is"


@rule("solution-shows")
def _(name: str, book: Json, there: set[str]) -> Findings:
    """JupyterLab shows the first line of a folded cell."""
    for cell in code(book):
        first = cell["source"].partition("\n")[0]
        if set(tags(cell)) & {"check", "solution", "solution-check"} and not re.fullmatch(
            r"# (▸ )?[A-Z][\w ,:]*exercise \d[\w ,:]*|%%terminal --solution \d+", first
        ):
            yield cell["id"], f"the folded bar shows {first!r}: begin with a comment that gives nothing away"


@rule("solution-gate")
def _(name: str, book: Json, there: set[str]) -> Findings:
    """What a solution does stands behind `if solution(n):`; only imports are outside."""
    for cell in code(book):
        if "solution" not in tags(cell) or terminal(cell):
            continue
        for node in ast.parse(python(cell)).body:
            gate = isinstance(node, ast.If) and ast.unparse(node.test).startswith("solution(") and not node.orelse
            if not gate and not isinstance(node, ast.Import | ast.ImportFrom):
                yield cell["id"], "a solution runs only when it is asked for: put it into `if solution(n):`"
