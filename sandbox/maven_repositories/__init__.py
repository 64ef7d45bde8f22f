"""Maven repositories: `mvn deploy` uploads releases and snapshots, and builds download them.

Layout: https://maven.apache.org/repository/layout.html; metadata: https://maven.apache.org/ref/3-LATEST/maven-repository-metadata.
"""

from sandbox.maven_repositories.server import serve

__all__ = ["serve"]
