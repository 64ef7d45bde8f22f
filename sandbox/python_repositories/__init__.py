"""Python repositories: the index that pip and uv read, and the uploads that twine and uv send.

Specifications: PEP 503 for the index, PyPI's documentation for the upload API, and for names and versions
https://packaging.python.org/en/latest/specifications/.
"""

from sandbox.python_repositories.server import serve

__all__ = ["serve"]
