"""Generate parts of docs/fidelity.md: the evidence for each operation, and the client's test that accepts it.

    .venv/bin/python -m tests.docs.fidelity

Each operation of `sandbox.apis.APIS`, of the registry and of the package hosts has a row, whose content is in
docs/fidelity.toml. The rest of the page is written by hand.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.exchanges import recorder
from cli.exchanges.calls import CALLS
from sandbox.api.methods import Api
from sandbox.apis import APIS
from sandbox.maven_repositories import server as maven_repositories
from sandbox.npm_repositories import server as npm_repositories
from sandbox.oci import registry as router
from sandbox.python_repositories import server as python_repositories
from tests.observed import facts
from tests.observed.facts import Fact

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fidelity.md"
DATA = ROOT / "docs" / "fidelity.toml"

_PATHS = {
    "begin": "/v2/NAME/blobs/uploads/",
    "blobs": "/v2/NAME/blobs/DIGEST",
    "manifests": "/v2/NAME/manifests/REFERENCE",
    "referrers": "/v2/NAME/referrers/DIGEST",
    "tags": "/v2/NAME/tags/list",
    "upload": "/artifacts-uploads/…",
    "download": "/artifacts-downloads/…",
}
REGISTRY = "The registry, /v2"
PYTHON = "Python repositories, LOCATION-python.pkg.dev"
NPM = "npm repositories, LOCATION-npm.pkg.dev"
MAVEN = "Maven repositories, LOCATION-maven.pkg.dev"
_FIXED = ("GET /v2/", "GET /v2/_catalog", "GET /v2/token", "POST /v2/token")


def operations() -> dict[str, list[str]]:
    """Return the operations in each section of the page, from the dispatch tables."""
    found = {f"{api.title} ({api.service})": sorted({method.id for method in api.methods}) for api in APIS}
    calls = [f"{verb} {_PATHS[kind]}" for kind, verbs in {**router._VERBS, **router._SIGNED}.items() for verb in verbs]
    return {
        REGISTRY: [*_FIXED, *calls],
        PYTHON: list(python_repositories.CALLS),
        NPM: list(npm_repositories.CALLS),
        MAVEN: list(maven_repositories.CALLS),
        **found,
    }


@functools.cache
def data() -> dict[str, Any]:
    """Return the content of docs/fidelity.toml."""
    return tomllib.loads(DATA.read_text())


@functools.cache
def _tests(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def faults() -> Iterator[str]:
    """Yield a sentence for each fault in the data."""
    known = {name for names in operations().values() for name in names}
    rows = data()["operations"]
    yield from (f"{name} has no row in docs/fidelity.toml" for name in sorted(known - rows.keys()))
    yield from (f"{name} has a row, and is no operation of the sandbox" for name in sorted(rows.keys() - known))
    for name, row in rows.items():
        if not row.keys() <= {"evidence", "note", "accepted_by"}:
            yield f"{name}: a row has evidence, note and accepted_by, not {', '.join(sorted(row))}"
        if unknown := set(row.get("evidence", [])) - set(data()["kinds"]):
            yield f"{name}: {', '.join(sorted(unknown))} is no kind of evidence"
        if not row.get("evidence"):
            yield f"{name} says nothing of what it rests on"
        for test in row.get("accepted_by", []):
            file, _, function = test.partition("::")
            if function not in _tests(file):
                yield f"{name}: there is no test {test}"


def unverified() -> dict[str, int]:
    """Return the number of remarks in each package of the sandbox that something is unverified."""
    counts: Counter[str] = Counter()
    for path in sorted((ROOT / "sandbox").rglob("*.py")):
        number = len(re.findall(r"\bunverified\b(?! header)", path.read_text()))
        if number:
            counts["/".join(path.relative_to(ROOT).parts[:2])] += number
    return counts


def _recorded(name: str) -> Fact | None:
    """Return the newest replayed recording of an operation."""
    for api in APIS:
        short = api.service.partition(".")[0]
        if short in facts.APIS and any(method.id == name for method in api.methods):

            def names_it(verb: str, path: str, api: Api = api) -> bool:
                found = api.find(verb, path)
                return found is not None and found[0].id == name

            return facts.newest(short, names_it)
    return None


def _evidence(name: str, kinds: list[str]) -> str:
    fact = _recorded(name)
    if fact is None:
        return ", ".join(kinds)
    seen = f"recorded ({fact.source.partition(':')[0]}{fact.observed and ', '}{fact.observed})"
    return ", ".join([seen, *(kind for kind in kinds if kind != "recorded")])


def _row(name: str, row: dict[str, Any]) -> str:
    tests = [f"`{test}`" for test in row.get("accepted_by", [])]
    # The section names the service. A project's own methods keep "projects.".
    short = name if " " in name else re.sub(r"^[a-z]+\.(projects\.(?=\w+\.))?", "", name)
    return f"| {short} | {_evidence(name, row['evidence'])} | {row.get('note', '')} | {'<br>'.join(tests) or '–'} |"


def _operations() -> Iterator[str]:
    rows = data()["operations"]
    for section, names in operations().items():
        yield from (f"### {section}", "", "| operation | evidence | note | accepted by |", "|---|---|---|---|")
        yield from (_row(name, rows[name]) for name in names)
        yield ""


def _unverified() -> Iterator[str]:
    counts = unverified()
    yield from ("| where | remarks |", "|---|---|")
    yield from (f"| {package} | {number} |" for package, number in counts.items())
    yield f"| **together** | {sum(counts.values())} |"


def _observed() -> Iterator[str]:
    """Yield the day on which each operation was last recorded on Google, from the stored exchanges."""
    kept = recorder.load()
    cases: dict[str, set[str]] = {}
    for call in CALLS:
        cases.setdefault(call.operation, set()).add(call.case)
    if not kept:
        yield from ("**None has been recorded yet**: nobody has run it on Google, so no operation has a date.", "")
    yield from ("| operation | cases in the list | observed on Google |", "|---|---|---|")
    for operation, listed in sorted(cases.items()):
        days = [one.observed for one in kept if one.operation == operation]
        seen = f"{max(days)}, {len(days)} cases" if days else "not yet"
        yield f"| {operation} | {len(listed)} | {seen} |"
    rest = {name for names in operations().values() for name in names} - cases.keys()
    yield from ("", f"{len(rest)} further operations of the sandbox are in no call of the list.")


def _replayed() -> Iterator[str]:
    """Yield how many recorded facts the sandbox matches, and why others differ."""
    names = ("facts", "matched", "an older form", "differing", "not served", "golden logs alike")
    yield from (f"| API | {' | '.join(names)} |", "|---|---|---|---|---|---|---|")
    rows = [facts.count(api) for api in facts.APIS]
    for api, row in zip(facts.APIS, rows, strict=True):
        golden = f"{row.golden_matched} of {row.golden}"
        yield f"| {api} | {row.sent} | {row.matched} | {row.older} | {row.differing} | {row.not_served} | {golden} |"
    total = [
        sum(getattr(row, name) for row in rows) for name in ("sent", "matched", "older", "differing", "not_served")
    ]
    golden = f"{sum(row.golden_matched for row in rows)} of {sum(row.golden for row in rows)}"
    yield f"| **together** | {' | '.join(map(str, total))} | {golden} |"
    yield from ("", "| reason | facts | what differs |", "|---|---|---|")
    for listed in facts.differences():
        shown = ", ".join(f"`{show}`" for show in listed.shows)
        yield f"| {listed.reason} | {_ids(listed.facts)} | {shown} |"


def _ids(found: tuple[str, ...]) -> str:
    """Return `iam-006, 010` for the facts `iam-006` and `iam-010`."""
    seen: set[str] = set()
    parts = []
    for one in found:
        api, _, number = one.rpartition("-")
        parts.append(number if api in seen else one)
        seen.add(api)
    return ", ".join(parts)


def _hosts() -> Iterator[str]:
    yield from ("| host | where Google names it |", "|---|---|")
    yield from (f"| {host} | {where} |" for host, where in sorted(data()["hosts"].items()))
    yield "| SERVICE-NUMBER.REGION.run.app | https://cloud.google.com/run/docs/triggering/https-request |"


def page() -> str:
    """Return the page with its generated parts up to date.

    Raises:
        ValueError: the page lacks the marks of a part.
    """
    text = PAGE.read_text()
    parts = {
        "operations": _operations(),
        "unverified": _unverified(),
        "observed": _observed(),
        "replayed": _replayed(),
        "hosts": _hosts(),
    }
    for name, lines in parts.items():
        opening, closing = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
        if text.count(opening) != 1 or text.count(closing) != 1:
            raise ValueError(f"{PAGE.name} needs {opening} and {closing}, once each")
        before, rest = text.split(opening)
        body = "\n".join(lines).strip()
        text = f"{before}{opening}\n\n{body}\n\n{closing}{rest.split(closing)[1]}"
    return text


def main() -> int:
    """Write the generated parts, and return the exit status: 1 if the data doesn't fit the sandbox."""
    wrong = list(faults())
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
