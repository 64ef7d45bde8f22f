"""Python repositories: the index that pip and uv read, and the uploads that twine and uv send.

Specifications: PEP 503 (the index), the upload API of https://docs.pypi.org/api/upload/, names and versions of
https://packaging.python.org/en/latest/specifications/.
"""

from sandbox.python_repositories.server import serve

__all__ = ["serve"]
