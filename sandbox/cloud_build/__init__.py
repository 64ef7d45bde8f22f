"""Cloud Build: the API, what a configuration means, and the jobs that run its steps in containers."""
