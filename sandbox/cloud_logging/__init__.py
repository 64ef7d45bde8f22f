"""Log entries, and the API that reads them."""
