"""npm repositories: the registry that `npm publish`, `install`, `view` and `dist-tag` use.

Specification: https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md, and npm's own client code
(libnpmpublish and npm-registry-fetch).
"""

from sandbox.npm_repositories.server import serve

__all__ = ["serve"]
