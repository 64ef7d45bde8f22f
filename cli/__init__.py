"""The `workbook` command; one subpackage for each verb that needs more than one file."""
