"""Cloud Build would accept `cloudbuild.yaml`: Google's message type parses it strictly."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from google.cloud.devtools.cloudbuild_v1 import types
from google.protobuf import json_format

FILE = Path(__file__).parents[2] / "cloudbuild.yaml"
# https://cloud.google.com/build/docs/build-config/substitute-variable-values: set in every build, even a manual one.
# A trigger also sets COMMIT_SHA, which is empty otherwise.
_ALWAYS = {"PROJECT_ID", "BUILD_ID", "PROJECT_NUMBER", "LOCATION", "COMMIT_SHA"}


def test_googles_schema_accepts_the_build() -> None:
    build = json_format.ParseDict(yaml.safe_load(FILE.read_text()), types.Build.pb()())
    assert [step.id for step in build.steps] == ["build", "test", "gate", "push", "deploy"]
    assert len(build.images) == 1


def test_every_substitution_is_declared_and_used() -> None:
    """MUST_MATCH, Cloud Build's default, refuses a build in which one of the two is missing."""
    content = yaml.safe_load(FILE.read_text())
    declared = set(content.pop("substitutions"))
    used = set(re.findall(r"(?<!\$)\$\{?([A-Z_][A-Z0-9_]*)", yaml.safe_dump(content)))
    assert used - _ALWAYS == declared


def test_the_image_is_deployed_by_digest_after_it_was_tested_and_pushed() -> None:
    build = json_format.ParseDict(yaml.safe_load(FILE.read_text()), types.Build.pb()())
    deploy = build.steps[4].args[1]
    assert "@$$digest" in deploy
    assert build.images[0].endswith(":${_TAG}")
    assert not any("--all-tags" in argument for step in build.steps for argument in step.args)


def test_build_with_its_own_account_chooses_where_logs_are_stored() -> None:
    build = json_format.ParseDict(yaml.safe_load(FILE.read_text()), types.Build.pb()())
    assert build.service_account.endswith("/${_BUILDER}")
    assert types.BuildOptions.LoggingMode(build.options.logging).name == "CLOUD_LOGGING_ONLY"
