"""What runs behind a notebook cell; notebooks don't import from here."""
