"""Start and stop a sandbox and write its client configuration."""
