"""Write the generated pages: `make docs`."""

from __future__ import annotations

import sys

from tests.docs import agenda, fidelity, tables

if __name__ == "__main__":
    sys.exit(max(tables.main(), agenda.main(), fidelity.main()))
