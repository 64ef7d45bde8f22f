"""Maven repositories: what `mvn deploy` puts and what a build resolves, releases and snapshots.

Layout: https://maven.apache.org/repository/layout.html; metadata: https://maven.apache.org/ref/3-LATEST/maven-repository-metadata.
"""

from sandbox.maven_repositories.server import serve

__all__ = ["serve"]
