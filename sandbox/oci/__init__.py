"""The registry API /v2 of Artifact Registry, which docker, skopeo, containerd and oras use.

Specification: OCI Distribution 1.1, https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md; the token
endpoint follows https://distribution.github.io/distribution/spec/auth/token/ and .../auth/oauth/.
"""

from sandbox.oci.address import Address
from sandbox.oci.registry import serve
from sandbox.oci.signing import is_signed

__all__ = ["Address", "is_signed", "serve"]
