"""How a request gets in: the HTTPS proxy for Google's hosts, the plain port, and gRPC."""
