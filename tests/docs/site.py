"""Import modules of site/ by path: the folder can't be a package, because Python has a module `site`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_FOLDER = Path(__file__).parents[2] / "site"


def _load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"workbook_site_{name}", _FOLDER / f"{name}.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up there
    specification.loader.exec_module(module)
    return module


offline = _load("offline")
slides = _load("slides")
sources = _load("sources")
