"""Log entries, and the API to read them."""
