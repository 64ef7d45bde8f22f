"""Run notebooks in a world of their own and report."""
