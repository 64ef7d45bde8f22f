"""The values for Kubernetes: the chart takes them, they ask for no privilege, and they name what is there.

The chart's schema and defaults are not part of the project: without `../shared` beside it, what needs them is skipped.
"""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from room import places

ROOT = Path(__file__).parents[2]
VALUES = yaml.safe_load((ROOT / "room" / "kubernetes" / "values.yaml").read_text(encoding="utf-8"))
CHART = ROOT.parent / "shared" / "data" / "z2jh"
with_chart = pytest.mark.skipif(not CHART.is_dir(), reason="needs the chart's schema: ../shared/data/z2jh")
Values = dict[str, Any]


def merged(below: Values, above: Values) -> Values:
    """What Helm makes of two files of values: mappings are joined, everything else is replaced."""
    both = {
        name: merged(below[name], value) if isinstance(value, dict) and isinstance(below.get(name), dict) else value
        for name, value in above.items()
    }
    return below | both


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft7Validator:
    """The chart's own schema."""
    return jsonschema.Draft7Validator(yaml.safe_load((CHART / "values.schema.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def defaults() -> Values:
    """The chart's own values."""
    found: Values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return found


def complaints(schema: jsonschema.Draft7Validator, values: Values) -> list[str]:
    """What the schema says of them, each with its place."""
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in schema.iter_errors(values)]


@with_chart
def test_the_chart_takes_the_values(schema: jsonschema.Draft7Validator, defaults: Values) -> None:
    assert complaints(schema, merged(defaults, VALUES)) == []


WRONG = {
    "singleuser.memory.guarantee": "memroy",
    "singleuser.networkPolicy.egressAllowRules.privateIPs": "privateIP",
    "singleuser.cloudMetadata.blockWithIptables": "block",
    "prePuller.hook.enabled": "on",
    "cull.timeout": "timeOut",
}


@with_chart
@pytest.mark.parametrize("place", WRONG)
def test_a_misspelt_name_is_caught(place: str, schema: jsonschema.Draft7Validator, defaults: Values) -> None:
    wrong = copy.deepcopy(VALUES)
    *above, last = place.split(".")
    inner = wrong
    for name in above:
        inner = inner[name]
    inner[WRONG[place]] = inner.pop(last)
    assert any(WRONG[place] in one for one in complaints(schema, merged(defaults, wrong)))


@with_chart
def test_a_value_of_the_wrong_kind_is_caught(schema: jsonschema.Draft7Validator, defaults: Values) -> None:
    wrong = merged(VALUES, {"singleuser": {"uid": "root"}})
    [complaint] = complaints(schema, merged(defaults, wrong))
    assert complaint.startswith("singleuser.uid: 'root' is not of type")


@with_chart
def test_no_pod_of_a_learner_asks_for_privilege(defaults: Values) -> None:
    whole = merged(defaults, VALUES)["singleuser"]
    assert whole["allowPrivilegeEscalation"] is False
    # The one container that the chart would run as privileged.
    assert whole["cloudMetadata"]["blockWithIptables"] is False
    assert whole["networkPolicy"]["enabled"] is True
    assert not whole["networkPolicy"]["egressAllowRules"]["cloudMetadataServer"]
    assert not whole["extraContainers"]
    assert not whole["initContainers"]
    assert not whole["extraPodConfig"]


def names(values: Any) -> Iterator[str]:
    """Every name in the values, at any depth."""
    if isinstance(values, dict):
        yield from values
    for inner in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        yield from names(inner)


def test_nothing_is_privileged() -> None:
    assert not {"privileged", "hostPath", "hostNetwork", "hostPID"} & set(names(VALUES))


def test_the_server_is_a_module_of_the_image_and_everybody_can_have_a_home() -> None:
    python, option, module = VALUES["singleuser"]["cmd"]
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(module)
    config = VALUES["hub"]["config"]
    assert set(config["Authenticator"]["admin_users"]) < set(config["Authenticator"]["allowed_users"])
    for name in config["Authenticator"]["allowed_users"]:
        assert places.checked(name) == name


def test_each_variable_is_a_documented_one_and_points_into_the_learners_volume() -> None:
    documented = re.findall(r"^\| `(WORKBOOK_\w+)`", (ROOT / "docs" / "environment.md").read_text(), re.MULTILINE)
    server = VALUES["singleuser"]
    assert set(server["extraEnv"]) <= set(documented)
    assert server["extraEnv"]["WORKBOOK_ENGINE"] == "embedded"
    folders = [Path(value) for value in server["extraEnv"].values() if value.startswith("/")]
    assert len(folders) == 2
    assert all(folder.is_relative_to(server["storage"]["homeMountPath"]) for folder in folders)


def test_the_image_is_built_with_what_a_hub_s_server_needs() -> None:
    dockerfile = (ROOT / "image" / "Dockerfile").read_text(encoding="utf-8")
    text = (ROOT / "room" / "kubernetes" / "values.yaml").read_text(encoding="utf-8")
    [lock] = re.findall(r"--build-arg LOCK=(\S+)", text)
    assert "jupyterhub==" in (ROOT / lock).read_text(encoding="utf-8")
    assert "ARG LOCK=requirements.txt\n" in dockerfile
    assert f"COPY {lock} room/\n" in dockerfile
