"""The `workbook` command; one subpackage for each verb that needs more than one file."""

import sys

# Where jsonschema finds this package it reads a grammar of IRIs at once: 1 s in each process that opens a notebook, for
# a format that no notebook's schema has. Where it doesn't find it, it does without.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
