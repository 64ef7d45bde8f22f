"""The part of GitHub Actions that a keyless pipeline needs: workflows in containers, with tokens of GitHub's issuer."""

ISSUER_HOST = "token.actions.githubusercontent.com"
PIPELINES_HOST = "pipelines.actions.githubusercontent.com"
HOSTS = (ISSUER_HOST, PIPELINES_HOST)
