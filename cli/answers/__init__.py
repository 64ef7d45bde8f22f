"""Commands that print a report and set an exit status."""
