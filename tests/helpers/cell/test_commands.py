"""Reading terminal cells."""

from __future__ import annotations

import pytest

from helpers.cell import commands


def test_split_joins_continued_lines_and_leaves_out_what_is_no_command() -> None:
    script = """
# a comment
gcloud artifacts repositories create $REPOSITORY \\
    --location=$REGION   # trailing

cat <<'END' > file
docker push not-a-command
END
echo "two
lines"
docker push $REGISTRY/x
"""
    assert commands.split(script) == (
        "gcloud artifacts repositories create $REPOSITORY --location=$REGION   # trailing",
        "cat <<'END' > file",
        'echo "two lines"',
        "docker push $REGISTRY/x",
    )


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("gcloud config list", True),
        ("token=$(gcloud auth print-access-token)", True),
        ("echo x | gcloud auth login", True),
        ("FOO=1 gcloud version", True),
        ("if gcloud version; then echo; fi", True),
        ("true && gcloud version", True),
        ("echo gcloud", False),
        ("echo 'gcloud; gcloud version'", False),
        ("docker login # gcloud", False),
        ("gcloudx version", False),
        ("cat gcloud/config", False),
        ("docker-credential-gcloud get", False),
    ],
)
def test_uses(command: str, expected: bool) -> None:
    assert commands.uses(command, "gcloud") is expected


def test_dockers_helper_needs_gcloud_too() -> None:
    assert commands.needing_gcloud("echo host | docker-credential-gcloud get\ndocker ps") == (
        "echo host | docker-credential-gcloud get",
    )


@pytest.mark.parametrize(
    ("command", "reads"),
    [
        ("docker push $REGISTRY/${PROJECT_ID}/x:$TAG", "docker push HOST/p1/x:$TAG"),
        ("echo '$REGISTRY' \"$REGISTRY\"", "echo '$REGISTRY' \"HOST\""),
        ('echo "it\'s $REGISTRY"', 'echo "it\'s HOST"'),
        ("echo $REGISTRY_HOST", "echo $REGISTRY_HOST"),
    ],
)
def test_expand(command: str, reads: str) -> None:
    assert commands.expand(command, {"REGISTRY": "HOST", "PROJECT_ID": "p1"}) == reads
