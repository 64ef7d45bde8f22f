"""Remote and virtual repositories of every package format: fetched once, served without the upstream, by priority."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from sandbox.package_hosts import machine
from tests.sandbox.in_process import Learner
from tests.sandbox.package_hosts.conftest import create, remote, upstream, virtual
from tests.sandbox.package_hosts.kinds import KINDS, MAVEN, NPM, Kind

each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.format for kind in KINDS])


@each_kind
def test_an_upstream_is_asked_once_and_then_not_needed(learner: Learner, kind: Kind) -> None:
    with upstream(kind.files("1.0.0", "2.0.0")) as far:
        here = create(learner, kind.format, remote(far.url))
        assert kind.versions(here.get(kind.index).text) == ["1.0.0", "2.0.0"]
        for _ in range(2):
            assert here.get(kind.file.format("1.0.0")).content == kind.content("1.0.0")
        paths = [path for path, _ in far.asked if not path.endswith(".sha1")]
        assert sorted(paths) == sorted({f"/{kind.index}", f"/{kind.at.format('1.0.0')}"})
        assert here.get(kind.missing).status_code == 404
        assert here.get(kind.file.format("9.0.0")).status_code == 404
    assert here.get(kind.file.format("1.0.0")).content == kind.content("1.0.0")
    assert kind.versions(here.get(kind.index).text) == ["1.0.0", "2.0.0"]
    for path in (kind.file.format("2.0.0"), kind.missing):
        answer = here.get(path)
        assert (answer.status_code, "could not be read" in answer.text) == (502, True)
    assert here.get(kind.file.format("9.0.0")).status_code == (502 if kind is MAVEN else 404)
    assert here.about()["sizeBytes"] == str(len(kind.content("1.0.0")))


@each_kind
def test_neither_takes_an_upload(learner: Learner, kind: Kind) -> None:
    own = create(learner, kind.format)
    assert kind.put(own, "1.0.0") in (200, 201)
    assert kind.put(create(learner, kind.format, remote(own.name)), "2.0.0") == 400
    assert kind.put(create(learner, kind.format, virtual((own, 1))), "2.0.0") == 400


@each_kind
def test_the_priority_decides_whose_package_it_is(learner: Learner, kind: Kind) -> None:
    own = create(learner, kind.format)
    assert kind.put(own, "1.0.0") in (200, 201)
    with upstream(kind.files("99.0.0")) as far:
        public = create(learner, kind.format, remote(far.url))
        level = create(learner, kind.format, virtual((own, 10), (public, 10)))
        assert sorted(kind.versions(level.get(kind.index).text)) == ["1.0.0", "99.0.0"]
        assert level.get(kind.file.format("99.0.0")).content == kind.content("99.0.0")
        safe = create(learner, kind.format, virtual((public, 10), (own, 20)))
        assert kind.versions(safe.get(kind.index).text) == ["1.0.0"]
        assert safe.get(kind.file.format("99.0.0")).status_code == 404
        assert safe.get(kind.file.format("1.0.0")).content == kind.content("1.0.0")
        assert safe.get(kind.missing).status_code == 404


@each_kind
def test_a_repository_of_the_same_project_is_an_upstream(learner: Learner, kind: Kind) -> None:
    own = create(learner, kind.format)
    here = create(learner, kind.format, remote(own.name))
    assert here.get(kind.index).status_code == 404
    assert kind.put(own, "1.0.0") in (200, 201)
    assert kind.versions(here.get(kind.index).text) == ["1.0.0"]
    assert here.get(kind.file.format("1.0.0")).content == kind.content("1.0.0")


@each_kind
def test_bytes_that_are_not_what_the_upstream_said(learner: Learner, kind: Kind) -> None:
    path = f"/{kind.at.format('1.0.0')}"
    right = hashlib.sha1(kind.content("1.0.0"), usedforsecurity=False).hexdigest()
    changed = kind.files("1.0.0") | {path: b"changed", f"{path}.sha1": f"{right}  model.jar".encode()}
    with upstream(changed) as far:
        here = create(learner, kind.format, remote(far.url))
        answer = here.get(kind.file.format("1.0.0"))
        assert (answer.status_code, "has the sha" in answer.text) == (502, True)
        far.files[path] = kind.content("1.0.0")
        assert here.get(kind.file.format("1.0.0")).content == kind.content("1.0.0")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (NPM, b"<html>"),
        (NPM, json.dumps({"versions": {"1.0.0": {"name": "other", "version": "1.0.0", "dist": {}}}}).encode()),
        (MAVEN, b"<!DOCTYPE metadata [<!ENTITY a 'b'>]><metadata/>"),
        (MAVEN, b"<metadata><groupId>com.example</groupId><artifactId>other</artifactId></metadata>"),
    ],
    ids=["npm-html", "npm-other", "maven-entities", "maven-other"],
)
def test_an_index_that_is_none(learner: Learner, kind: Kind, content: bytes) -> None:
    with upstream({f"/{kind.index}": content}) as far:
        here = create(learner, kind.format, remote(far.url))
        assert here.get(kind.index).status_code == (404 if kind is NPM else 502)


def _mirror(pattern: str, more: str = "") -> str:
    return f"<mirror><url>http://mirror/{pattern}</url><mirrorOf>{pattern}</mirrorOf>{more}</mirror>"


@pytest.mark.parametrize(
    ("mirrors", "address"),
    [
        (_mirror("central"), "http://mirror/central"),
        (_mirror("other") + _mirror("*"), "http://mirror/*"),
        (_mirror("external:*,!here"), "http://mirror/external:*,!here"),
        (_mirror("*,!central"), ""),
        (_mirror("external:http:*"), ""),
        (_mirror("central", "<blocked>true</blocked>"), ""),
        ("", ""),
        ("<mirror>", ""),
    ],
    ids=["central", "all", "external", "not central", "http only", "blocked", "none", "no xml"],
)
def test_the_mirror_that_mavens_settings_name(mirrors: str, address: str) -> None:
    for namespace in ("", ' xmlns="http://maven.apache.org/SETTINGS/1.2.0"'):
        settings = f"<settings{namespace}><mirrors>{mirrors}</mirrors></settings>"
        assert machine.mirror_of_central(settings.encode()) == address


@pytest.mark.parametrize(
    ("kind", "preset"),
    [
        (NPM, {"npmRepository": {"publicRepository": "NPMJS"}}),
        (MAVEN, {"mavenRepository": {"publicRepository": "MAVEN_CENTRAL"}}),
    ],
    ids=["npm", "maven"],
)
def test_a_preset_is_what_the_machines_own_client_names(
    learner: Learner, kind: Kind, preset: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind is NPM and shutil.which("npm") is None:
        pytest.skip("needs npm on the PATH")
    with upstream(kind.files("1.0.0")) as far:
        (tmp_path / ".m2").mkdir()
        (tmp_path / ".npmrc").write_text(f"registry={far.url}/\n")
        mirror = f"<mirror><url>{far.url}</url><mirrorOf>central</mirrorOf></mirror>"
        (tmp_path / ".m2" / "settings.xml").write_text(f"<settings><mirrors>{mirror}</mirrors></settings>")
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in [name for name in os.environ if name.lower().startswith("npm_config_")]:
            monkeypatch.delenv(name)
        here = create(learner, kind.format, {"mode": "REMOTE_REPOSITORY", "remoteRepositoryConfig": preset})
        assert here.get(kind.file.format("1.0.0")).content == kind.content("1.0.0")


def test_without_maven_or_npm_a_preset_leads_nowhere(
    learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for look in (machine.npmjs, machine.maven_central):
        with pytest.raises(machine.Unreachable, match="is on this machine"):
            look(learner.world)
