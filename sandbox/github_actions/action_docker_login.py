#!/usr/bin/env python3
"""The action docker/login-action, which runs in a job's container and signs docker in to a registry.

`logout` has no effect, because the container is removed when the job ends, as GitHub's machine is. The messages about
missing inputs are those of https://github.com/docker/login-action (src/docker.ts).
"""

import os
import subprocess
import sys


def given(name: str) -> str:
    """Return the value of an input."""
    return os.environ.get(f"INPUT_{name.upper()}", "").strip()


def end(message: str) -> None:
    """End the action with an error message."""
    print(f"::error::{message}", flush=True)
    sys.exit(1)


def run() -> None:
    """Run the action."""
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
