"""Addresses, access, upload bodies and upstreams: the parts that the hosts of all package formats share."""
