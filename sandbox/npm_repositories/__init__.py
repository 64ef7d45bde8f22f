"""npm repositories: what `npm publish`, `install`, `view` and `dist-tag` ask of a registry.

Specification: https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md, and what npm itself sends (its
libnpmpublish and npm-registry-fetch).
"""

from sandbox.npm_repositories.server import serve

__all__ = ["serve"]
