#!/usr/bin/env python3
"""The action google-github-actions/setup-gcloud, which runs in a job's container with the gcloud that is there.

It signs gcloud in with the file that google-github-actions/auth has written, and sets the project.
"""

import os
import subprocess
import sys

NAME = "google-github-actions/setup-gcloud"


def gcloud(*arguments: str) -> str:
    """Run a gcloud command and return its output. End the action if it fails."""
    command = ["gcloud", "--quiet", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        end("gcloud is not on the machine on which the workbook's sandbox runs")
    if done.returncode != 0:
        end(f"failed to execute command `{' '.join(command)}`: {done.stderr.strip()}")
    return done.stdout.strip()


def end(message: str) -> None:
    """End the action with an error message."""
    print(f"::error::{NAME} failed with: {message}", flush=True)
    sys.exit(1)


def run() -> None:
    """Run the action."""
    version = gcloud("version", "--format=value('Google Cloud SDK')")
    with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as file:  # noqa: PTH123 - of the runner
        file.write(f"version={version}\n")
    if path := os.environ.get("GOOGLE_GHA_CREDS_PATH"):
        gcloud("auth", "login", "--cred-file", path)
        print("Successfully authenticated", flush=True)
    if project := os.environ.get("INPUT_PROJECT_ID") or os.environ.get("GCLOUD_PROJECT"):
        gcloud("config", "set", "project", project)
        print("Successfully set default project", flush=True)


if __name__ == "__main__":
    run()
