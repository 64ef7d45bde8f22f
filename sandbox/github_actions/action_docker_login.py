#!/usr/bin/env python3
"""What docker/login-action does, in a job's container: it signs docker in to a registry.

It signs out when the job ends, unless `logout` is false; the container is gone by then, as GitHub's machine is. The
sentences about what is missing are those of https://github.com/docker/login-action (src/docker.ts).
"""

import os
import subprocess
import sys


def given(name: str) -> str:
    """Return an input."""
    return os.environ.get(f"INPUT_{name.upper()}", "").strip()


def end(sentence: str) -> None:
    """End the action."""
    print(f"::error::{sentence}", flush=True)
    sys.exit(1)


def run() -> None:
    """Do what the action does."""
    registry, username, password = given("registry"), given("username"), given("password")
    missing = [name for name, value in (("Username", username), ("Password", password)) if not value]
    if missing:
        end(f"{' and '.join(missing).capitalize()} required")
    print(f"Logging into {registry or 'docker.io'}...", flush=True)
    command = ["docker", "login", "--password-stdin", "--username", username, *([registry] if registry else [])]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        end(done.stderr.strip())
    print("Login Succeeded!", flush=True)


if __name__ == "__main__":
    run()
