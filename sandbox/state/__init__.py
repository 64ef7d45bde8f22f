"""What survives a restart: the database and its schema, the clock, propagation delays, and project rows."""
