"""Record and replay real API exchanges."""
