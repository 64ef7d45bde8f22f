"""Write the generated pages: `make docs`."""

from __future__ import annotations

import sys

from tests.docs import agenda, fidelity, solutions, tables

if __name__ == "__main__":
    sys.exit(max(tables.main(), agenda.main(), solutions.main(), fidelity.main()))
