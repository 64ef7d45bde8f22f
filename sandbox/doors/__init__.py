"""The entrances for requests: the HTTPS proxy for Google's hosts, the plain port, and gRPC."""
