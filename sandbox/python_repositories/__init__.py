"""Python repositories: the index that pip and uv read, and the uploads that twine and uv send.

Specifications: PEP 503 (the index), the upload API as PyPI's documentation has it, names and versions of
https://packaging.python.org/en/latest/specifications/.
"""

from sandbox.python_repositories.server import serve

__all__ = ["serve"]
