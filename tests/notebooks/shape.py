"""Named rules for the shape of notebooks. Each yields the cell id and the fault."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers import prices
from helpers.cell import about

FOLDER = Path(__file__).parents[2] / "notebooks"
Json = dict[str, Any]
# Variables that `workbook env` or bash sets.
_VARIABLES = {"PROJECT_ID", "PROJECT_NUMBER", "REGION", "REPOSITORY", "IMAGE", "BILLING_ACCOUNT", "HOME", "PATH"}
_VARIABLES |= {"REGISTRY_HOST", "REGISTRY", "REGISTRY_URL", "SANDBOX_URL", "DOCKER_CONFIG", "CLOUDSDK_CONFIG"}
_VARIABLES |= {"WORKBOOK_HOME", "WORKBOOK_RUN", "PYTHON_IMAGE", "BUILD_NETWORK"}
EXERCISE = ("exercise", "check", "solution", "solution-check")
# Any other tag may mean something to a runner: raises-exception, skip-execution, nbval-ignore-output.
_TAGS = {"setup", "parameters", *EXERCISE}
# Dollars in texts: prices of the list, sums of them, and amounts that are not Google's prices.
_DOLLARS = {one.amount for one in prices.ALL} | {
    prices.rate(35_000_000),
    3 * prices.SCAN.amount,
    6 * prices.SCAN.amount,
    # notebook 11's scans and builds
    math.ceil(100 * (3 * prices.SCAN.amount + 9 * prices.BUILD.amount)) / 100,
}
_NO_PRICE = {0.5, 5.0, 0.01, 0.05}  # a guide's error, the budget, and two bounds ("less than")
_HEADINGS = ("What you should have now", "What could go wrong", "What this leaves behind")
_SECRET = re.compile(r"ya29\.\w|eyJ[\w-]{8,}\.[\w-]{8,}|BEGIN [A-Z ]*PRIVATE KEY|AIza[\w-]{30}|\bgh[pousr]_\w{20}")
_ADDRESS = re.compile(r"[\w.+-]+@((?:[\w-]+\.)+[A-Za-z]{2,})")
_KNOWN_ADDRESS = re.compile(r"(?:[\w-]+\.iam|developer|cloudbuild)\.gserviceaccount\.com|example\.com")
_PATH = re.compile(r"/(?:home|Users)/\w|/root/|/tmp/\w|[A-Z]:\\\\?Users")
_MISSPELT = re.compile(
    r"\bArtifact registry|\bartifact registry|\bGoogle cloud\b|\bCloud (?:build|run)\b|\bcloud (?:Build|Run)\b"
    r"|\bCloudBuild|\bCloudRun|\bDocker hub|\bdocker hub|\bContainer registry|\bGithub|\bgithub\b(?!\.)"
    r"|\bJupyter ?lab|\bJavascript|\bPypi\b|\bGCP\b|\bAR repositor"
)
_BELITTLING = re.compile(r"\b(?:simply|just|easy|easily|obviously|trivial|trivially|of course)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"(?<![<\w])<[A-Za-z][\w-]*>|\b[Yy](?:our|OUR)[-_][A-Za-z]|\bTODO\b|\bFIXME\b|abc123\.\.\.")


def number(name: str) -> int:
    return int(name[:2])


def tags(cell: Json) -> list[str]:
    found: list[str] = cell["metadata"].get("tags", [])
    return found


def code(book: Json) -> list[Json]:
    return [cell for cell in book["cells"] if cell["cell_type"] == "code"]


def prose(cell: Json) -> str:
    """Return the prose of a text cell, without code, link targets and HTML comments."""
    if cell["cell_type"] != "markdown":
        return ""
    text = re.sub(r"```.*?```", "", cell["source"], flags=re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


def terminal(cell: Json) -> str:
    return cell["source"].partition("\n")[2] if cell["source"].startswith("%%terminal") else ""


def python(cell: Json) -> str:
    return "" if cell["source"].startswith("%%") or cell["cell_type"] != "code" else cell["source"]


def shown(cell: Json) -> str:
    """Return all text of a cell that a reader sees, including its outputs."""
    return json.dumps([cell["source"], cell.get("outputs", [])], ensure_ascii=False)


Findings = Iterator[tuple[str, str]]
Rule = Callable[[str, Json, set[str]], Findings]
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    def kept(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return kept


@rule("one-title")
def _(name: str, book: Json, there: set[str]) -> Findings:
    titles = [(cell["id"], line) for cell in book["cells"] for line in re.findall(r"^# .*", prose(cell), re.MULTILINE)]
    if len(titles) != 1 or titles[0][0] != book["cells"][0]["id"]:
        yield book["cells"][0]["id"], f"there is one H1, and it stands in the first cell; found {titles}"
    elif not titles[0][1].startswith(f"# {number(name)} · "):
        yield titles[0][0], f"the title begins with '# {number(name)} · '"


@rule("card")
def _(name: str, book: Json, there: set[str]) -> Findings:
    card = book["cells"][0]
    for part in ("Goal", "You will learn", "Time", "Cost", "Before you start"):
        if f"**{part}**" not in card["source"]:
            yield card["id"], f"the card lacks **{part}**"
    learn = card["source"].partition("**You will learn**")[2].partition("\n\n")[0]
    if not 1 <= learn.count("\n- ") <= 4:
        yield card["id"], "the card names one to four things to learn"


@rule("begin")
def _(name: str, book: Json, there: set[str]) -> Findings:
    first = code(book)[0]
    wanted = f"from helpers import workbook\n\nwb = workbook.begin({number(name)})"
    if tags(first) != ["setup"] or first["source"] != wanted:
        yield first["id"], f"the first code cell is tagged setup and reads {wanted!r}"


@rule("cells-too-long")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        # Folded text is not read in passing.
        folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
        if (lines := cell["source"].count("\n") + 1) > 20 and not folded:
            yield cell["id"], f"{lines} lines; a cell has at most 20"


@rule("line-too-long")
def _(name: str, book: Json, there: set[str]) -> Findings:
    # What a cell shows beside the file browser on a screen of 1366 pixels, with room to spare.
    for cell in code(book):
        for line in cell["source"].splitlines():
            if len(line) > 100:
                yield cell["id"], f"{len(line)} characters in one line, 100 at most: {line[:60]}…"


@rule("shell-pipe")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if re.search(r"^\s*!.*\|", python(cell), re.MULTILINE):
            yield cell["id"], "a pipe in a ! line hides the failure of its first command: make it a terminal cell"


@rule("bash-magic")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if re.match(r"%%(?!terminal\b)", cell["source"]):
            yield cell["id"], "only %%terminal is strict; with %%bash a failing line goes unseen"


@rule("line-magic")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if found := re.search(r"^\s*%(?!%terminal\b)\w+|get_ipython", cell["source"], re.MULTILINE):
            yield (
                cell["id"],
                f"{found[0].strip()!r}: after a magic that IPython doesn't know, nbval sees no error any more",
            )


@rule("look-away")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if foreign := set(tags(cell)) - _TAGS:
            yield cell["id"], f"the tag {sorted(foreign)[0]!r} may tell a runner to look away: write `with refused(…)`"
        if found := re.search(r"#\s*(?:NBVAL_|PYTEST_VALIDATE)\w+", cell["source"]):
            yield cell["id"], f"{found[0]!r} tells nbval to look away"


@rule("masked-failure")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if found := re.search(r"\|\|\s*(?:true|:)(?!\w)|\bset \+[eou]|; *true$", terminal(cell), re.MULTILINE):
            yield cell["id"], f"{found[0]!r} hides a failure"


@rule("hidden-value")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if python(cell).rstrip().endswith(";"):
            yield cell["id"], "a trailing ; hides a value; end the cell with None"


@rule("hard-coded")
def _(name: str, book: Json, there: set[str]) -> Findings:
    literals = {"us-central1": "$REGION", "ml-workbook": "$PROJECT_ID", "localhost:5001": "$REGISTRY"}
    for cell in code(book):
        for literal, variable in literals.items():
            if literal in terminal(cell):
                yield cell["id"], f"{literal} is hard-coded: write {variable}"


@rule("unset-variable")
def _(name: str, book: Json, there: set[str]) -> Findings:
    exported: set[str] = set()
    for cell in code(book):
        exported |= set(_exports(python(cell)))
        script = re.sub(r"<<'(\w+)'.*?^\1$|'[^']*'", "", terminal(cell), flags=re.DOTALL | re.MULTILINE)
        assigned = re.findall(r"(?:^|[\s;(])(?:(\w+)=|for (\w+) in|read (\w+))", script)
        known = _VARIABLES | exported | {one for found in assigned for one in found}
        for used in re.findall(r"\$\{?([A-Za-z_]\w*)", script):
            if used not in known:
                yield cell["id"], f"${used} is set nowhere: `workbook env` and the cells before don't know it"


def _exports(source: str) -> Iterator[str]:
    """Return the names that a Python cell puts into os.environ."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.update":
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
            for given in node.args:
                yield from (key.value for key in getattr(given, "keys", []) if isinstance(key, ast.Constant))
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)


@rule("placeholder")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in code(book):
        if "--refused" in cell["source"].partition("\n")[0]:
            continue
        if found := _PLACEHOLDER.search(terminal(cell) or re.sub(r"#.*|\".*?\"", "", python(cell))):
            yield cell["id"], f"{found[0]!r} is a placeholder: nobody can run it"


@rule("price")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"]:
        for amount in re.findall(r"(\d+(?:\.\d+)?) USD", prose(cell)):
            if not any(abs(float(amount) - known) < 1e-9 for known in _DOLLARS | _NO_PRICE):
                yield cell["id"], f"{amount} USD is neither in helpers/prices.py nor a sum of what is there"


@rule("headings")
def _(name: str, book: Json, there: set[str]) -> Findings:
    found = [line for cell in book["cells"] for line in re.findall(r"^## (.*)", prose(cell), re.MULTILINE)]
    last = book["cells"][-1]["id"]
    for wanted in ("Try to break it", "Your turn"):
        if not any(line.startswith(wanted) for line in found):
            yield last, f"the heading '## {wanted}' is missing"
    if [line for line in found if line in _HEADINGS] != list(_HEADINGS):
        yield last, f"these headings come once, in this order: {', '.join(_HEADINGS)}"


@rule("messages")
def _(name: str, book: Json, there: set[str]) -> Findings:
    text = "\n".join(cell["source"] for cell in book["cells"] if cell["cell_type"] == "markdown")
    if not re.search(r"## What could go wrong\s+\| message \| cause \| fix \|\n\|[-|]+\|\n\|", text):
        yield book["cells"][-1]["id"], "'What could go wrong' is a table: message, cause, fix"


@rule("next")
def _(name: str, book: Json, there: set[str]) -> Findings:
    last = book["cells"][-1]
    if not last["source"].startswith("**Next**: "):
        yield last["id"], "the last cell begins with **Next**:"
    for aim in re.findall(r"\]\((.+?)\)", last["source"]):
        if aim not in there and not (FOLDER / aim).exists():
            yield last["id"], f"there is no {aim}"
    following = [one for one in sorted(there) if number(one) == number(name) + 1]
    if following and not _stands_alone(following[0]) and f"]({following[0]})" not in last["source"]:
        yield last["id"], f"{following[0]} is there: link to it"


def _stands_alone(name: str) -> bool:
    """Return whether a notebook builds on no other."""
    return (FOLDER / name).exists() and not about.read(FOLDER / name).needs


@rule("links")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"][:-1]:
        text = re.sub(r"```.*?```|`[^`]*`(?!\])", "", cell["source"], flags=re.DOTALL)
        for aim in re.findall(r"\]\((?!https?:|#)(.+?)\)", text if cell["cell_type"] == "markdown" else ""):
            if aim not in there and not (FOLDER / aim).exists():
                yield cell["id"], f"there is no {aim}"


@rule("cell-ids")
def _(name: str, book: Json, there: set[str]) -> Findings:
    seen: set[str] = set()
    for cell in book["cells"]:
        if cell["id"] in seen or not re.fullmatch(r"[a-z][a-z0-9-]*", cell["id"]):
            yield cell["id"], "a cell's id is its own, and words in lower case"
        if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", cell["id"]):
            yield cell["id"], "a cell's id says what it is; this one is a random number"
        seen.add(cell["id"])


@rule("recorded")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for place, cell in enumerate(code(book), 1):
        if cell["execution_count"] != place:
            yield cell["id"], f"its count is {cell['execution_count']}, not {place}: record the notebook"
        # What a solution writes into a file, or switches off, it need not say: its check does.
        elif prints(cell) and not cell["outputs"] and "solution" not in tags(cell):
            yield cell["id"], "it prints, and no output is stored: record the notebook"
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            yield cell["id"], "its stored output is an error"


def prints(cell: Json) -> bool:
    """Return whether a cell certainly has an output. A rule that guessed would be worked around."""
    if cell["source"].startswith("%%terminal"):
        loud = re.search(
            r"^(?:gcloud (?!services enable)|echo |docker (?:push|pull))[^\n]*$", terminal(cell), re.MULTILINE
        )
        return "--refused" in cell["source"].partition("\n")[0] or bool(loud and "/dev/null" not in loud[0])
    return bool(
        re.search(
            r"^(?:print|exercise|solved|done|with refused|wb\.requests|wb\.leftovers|wb = workbook\.begin)\b",
            cell["source"],
            re.MULTILINE,
        )
    )


@rule("secret")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"]:
        if found := _SECRET.search(shown(cell)):
            yield cell["id"], f"{found[0][:8]}… looks like a secret"


@rule("e-mail")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"]:
        for found in _ADDRESS.finditer(shown(cell)):
            if not _KNOWN_ADDRESS.fullmatch(found[1]):
                yield cell["id"], f"{found[0]} may be somebody's address: use example.com"


@rule("home-path")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"]:
        if found := _PATH.search(shown(cell)):
            yield cell["id"], f"{found[0]}… is a path of one machine"


@rule("product-names")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"]:
        if found := _MISSPELT.search(prose(cell)):
            yield cell["id"], f"{found[0]!r} is spelled another way"


@rule("belittling")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"]:
        if found := _BELITTLING.search(prose(cell)):
            yield cell["id"], f"{found[0]!r}: what is easy for you isn't for the reader"


@rule("alt-text")
def _(name: str, book: Json, there: set[str]) -> Findings:
    for cell in book["cells"]:
        text = cell["source"] if cell["cell_type"] == "markdown" else ""
        if "![](" in text or re.search(r"<img(?![^>]*\balt=\"[^\"])", text):
            yield cell["id"], "a picture has no alternative text"
        pictures = [
            kind for one in cell.get("outputs", []) for kind in one.get("data", {}) if kind.startswith("image/")
        ]
        words = _has_words(cell)
        if pictures and not words and not _told_before(cell, book):
            yield cell["id"], "a picture stands without its data as text, in its cell or the one before"


def _told_before(cell: Json, book: Json) -> bool:
    cells = code(book)
    before = cells[max(cells.index(cell) - 1, 0)]
    return _has_words(before)


def _has_words(cell: Json) -> bool:
    """Return whether a cell has text or a table among its outputs."""
    return any(one["output_type"] == "stream" or "text/html" in one.get("data", {}) for one in cell.get("outputs", []))


def read(path: Path) -> Json:
    book: Json = json.loads(path.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        cell["source"] = "".join(cell["source"])
    return book
