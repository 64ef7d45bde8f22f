"""Builds: what a build's configuration means (pure), and the jobs that run its steps in containers."""
