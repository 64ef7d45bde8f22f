"""Cloud Build: the API, the meaning of a configuration, and the jobs that run its steps in containers."""
