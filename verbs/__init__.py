"""What `make` and `.venv/bin/workbook` do: one file per verb, and what several need. No notebook imports them."""
