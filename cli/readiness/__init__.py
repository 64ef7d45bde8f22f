"""Check whether a Google project is ready for a run."""
