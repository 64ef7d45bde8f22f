"""What a notebook imports: one file per topic, and the runner beside them."""
