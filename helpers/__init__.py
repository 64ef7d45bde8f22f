"""The modules that notebooks import, one for each topic."""
