"""Read an image's layers and match its packages against advisories; imports nothing else of the sandbox."""
