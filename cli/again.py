"""`workbook reset --notebook N`: restore the world that a notebook needs, and a fresh copy of the notebook."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cli import lab, set_up
from cli.world import starter
from helpers import answers, target
from helpers.cell import documents
from machine import base_image

_MAKE = "import sys; from helpers.fast_forward import fast_forward; fast_forward(int(sys.argv[1]))"


def begin(home: Path, number: int, say: Callable[[str], None], complain: Callable[[str], None]) -> int:
    """Reset the world, create what a notebook needs, and put a fresh copy of it in the learner's folder.

    The existing copy is renamed. The answers to other notebooks' exercises stay.

    Returns:
        exit status 0, 2 for an unknown number, or that of the process that creates what the notebook needs.
    """
    found = {int(path.name[:2]): path for path in documents.notebooks()}
    if number not in found:
        complain(f"There is no notebook {number}. There are {min(found)} to {max(found)}.")
        return 2
    home = home.resolve()
    kept = answers.without(answers.lines(home), found[number].stem)
    starter.reset(home)
    if kept:
        (home / answers.NAME).write_text("\n".join(kept) + "\n", encoding="utf-8")
    set_up.bring_back_engine(say, complain)
    opened = starter.start(home)
    changes = set_up.environment(opened, lambda client: base_image.ensure(client, lambda _: None))
    if changes is None:
        changes = opened.environment({}, run=opened.lab_run)
    made = subprocess.run(
        [sys.executable, "-c", _MAKE, str(number)],
        env=target.apply(changes, os.environ),
        cwd=target.ROOT,
        check=False,
    )
    if made.returncode != 0:
        complain(f"The world before notebook {number} could not be made; what was said above is why.")
        return made.returncode
    _copy(found[number], home / "lab", say)
    say(f"The world is as notebook {number} finds it.")
    return 0


def _copy(source: Path, state: Path, say: Callable[[str], None]) -> None:
    aim = state / "notebooks" / source.name
    if aim.exists():
        moment = dt.datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
        old = aim.with_name(f"{aim.stem}-until-{moment}.ipynb")
        aim.rename(old)
        say(f"Your copy of {aim.name} is {old.name} now.")
    lab.copy_notebooks(source.parent, aim.parent)
    lab.trust([aim], state)
