"""The lines of a Dockerfile, read out of what each of docker's builders makes of them."""

from __future__ import annotations

import pytest

from helpers import images
from sandbox.artifact_analysis import image_parts


@pytest.mark.parametrize(
    ("classic", "buildkit", "line"),
    [
        ("/bin/sh -c #(nop) COPY dir:0a1b in /opt/venv ", "COPY /opt/venv /opt/venv # buildkit", "COPY … /opt/venv"),
        ("/bin/sh -c #(nop) COPY multi:0a1b in ./ ", "COPY a.py b.py ./ # buildkit", "COPY … ./"),
        ("|1 A=1.0 /bin/sh -c pip install x", "RUN |1 A=1.0 /bin/sh -c pip install x # buildkit", "RUN pip install x"),
        ("/bin/sh -c pip install x", "RUN /bin/sh -c pip install x # buildkit", "RUN pip install x"),
        ("/bin/sh -c #(nop)  ENV A=b", "ENV A=b", "ENV A=b"),
        ("", "", "the base image"),
    ],
    ids=["folder", "files", "run-with-argument", "run", "setting", "base"],
)
def test_both_builders_lines_read_the_same(classic: str, buildkit: str, line: str) -> None:
    assert images._made_by({"CreatedBy": classic}) == images._made_by({"CreatedBy": buildkit}) == line
    if line.startswith("RUN"):
        assert image_parts._line(classic) == image_parts._line(buildkit) == line
