"""The workbook as Colab and Binder start it, each imitated: its rights, its user, what is installed, how it calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.soak import engines, roots

pytestmark = [
    pytest.mark.skipif(os.environ.get("WORKBOOK_SOAK") != "1", reason="a long one: make soak"),
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]
_ARCHIVE = f"export WORKBOOK_GCLOUD_ARCHIVE={engines.ARCHIVES}/google-cloud-cli.tar.gz\n"
# One notebook that only looks, and one that builds, pushes and deletes.
_SOME = 'ARGS="--strict --only 00,10"'
# The first line that README gives, with a repository that is there. A cell's `!` has the kernel's environment.
_COLAB = f"""
set -e
{_ARCHIVE}export MPLBACKEND=module://matplotlib_inline.backend_inline CLOUDSDK_CONFIG=/content/.config
mkdir -p /content /content/.config /srv/repository
cp -a {roots.PLACE}/. /srv/repository
cd /srv/repository
git init --quiet
git add --all
git -c user.name=A -c user.email=a@example.com commit --quiet --message=All
cd /content
git clone --quiet /srv/repository workbook && make -C workbook run {_SOME} </dev/null
"""
_BUILT = f"""
set -e
{_ARCHIVE}cd {roots.PLACE}
.binder/postBuild
"""
_STARTED = f"""
set -e
{_ARCHIVE}cd "$HOME"
{roots.PLACE}/.binder/start jupyter-lab --ip=0.0.0.0 --port=8888 --ServerApp.base_url=/user/one/ \\
    --IdentityProvider.token=given >/tmp/lab.log 2>&1 &
lab=$!
trap 'cat /tmp/lab.log' EXIT
asked() {{ curl --silent --fail --header 'Authorization: token given' http://127.0.0.1:8888/user/one/api/contents; }}
until asked >/tmp/listed; do
    kill -0 $lab
    sleep 0.5
done
grep --quiet 00_start_here.ipynb /tmp/listed
make -C {roots.PLACE} run {_SOME}
kill -TERM $lab
wait $lab
for _ in $(seq 100); do
    pgrep --uid {roots.LEARNER} 'python|proot' >/dev/null || exit 0
    sleep 0.1
done
pgrep --uid {roots.LEARNER} --list-full 'python|proot'
exit 1
"""


@contextmanager
def _machine(packages: tuple[str, ...], owner: int) -> Iterator[Path]:
    reason = roots.missing()
    if reason:
        pytest.skip(reason)
    with roots.fresh(roots.make("trixie", packages)) as root:
        roots.copy_workbook(root, owner=owner)
        yield root


def _shared() -> dict[Path, str]:
    return {engines.archive().parent: engines.ARCHIVES}


def test_colab_s_one_cell_runs_the_notebooks() -> None:
    """Root in a container, whose Python can make no environment until the set-up has installed what that needs."""
    packages = tuple(one for one in engines.PLAIN if one != "python3-venv")
    with _machine(packages, 0) as root:
        ran = roots.run(root, engines.as_root_in_a_container(_COLAB), shared=_shared())
    assert ran.status == 0, ran.output
    assert "\nOK\n" in ran.output, ran.output


def test_binder_s_image_is_made_and_starts_without_its_processes() -> None:
    """A user without rights; between the two nothing but files is left, as in an image."""
    wanted = (roots.HERE / ".binder" / "apt.txt").read_text().split()
    with _machine((*engines.BARE, "procps", "python3", "python3-venv", *wanted), roots.LEARNER) as root:
        built = roots.run(root, engines.as_confined_user(_BUILT), shared=_shared())
        assert built.status == 0, built.output
        started = roots.run(root, engines.as_confined_user(_STARTED), shared=_shared())
    assert started.status == 0, built.output + started.output
