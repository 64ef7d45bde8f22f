"""What a notebook imports: one file per topic, and what several topics share."""
