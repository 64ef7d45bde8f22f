"""The target of the workbook's commands: the sandbox on this machine, or Google.

A target is a set of environment variables, which this module writes, and everything else reads through `current()`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from helpers import git_settings, names

ROOT: Final = Path(__file__).resolve().parent.parent
REGION: Final = "us-central1"
REPOSITORY: Final = "ml-images"
IMAGE: Final = "ml-predictor"
LABEL: Final = "workbook-run"

CA_VARIABLES: Final = (
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE",  # npm takes no other where its settings name one
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
)
# OpenSSL reads this directory besides the file, and a foreign directory has been seen to take precedence.
_CA_DIRECTORY: Final = "SSL_CERT_DIR"
_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy")
# These name the interpreter of gcloud, which may not start without them.
_CLOUDSDK_KEPT: Final = frozenset({"CLOUDSDK_PYTHON", "CLOUDSDK_PYTHON_SITEPACKAGES", "CLOUDSDK_PYTHON_ARGS"})
# Settings of the user that would send a client elsewhere or change its identity.
_FOREIGN: Final = (
    "GOOGLE_CLOUD_QUOTA_PROJECT",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE",
    "GOOGLE_API_USE_MTLS_ENDPOINT",
    "DOCKER_CONTEXT",
)
_GOOGLE_HOST: Final = r"(?:[a-z0-9-]+\.)*(?:pkg\.dev|googleapis\.com|run\.app|gcr\.io|github\.com)(?![a-z0-9.-])"


class NoTarget(RuntimeError):
    """The environment doesn't name a target, or lacks some of its variables."""


@dataclass(frozen=True)
class SandboxInfo:
    """The content of `sandbox.json`, which the sandbox writes when it is ready."""

    pid: int
    port: int
    edge_port: int
    project_id: str
    project_number: str
    region: str
    learner: str
    billing_account: str
    started: str

    @classmethod
    def read(cls, path: Path) -> SandboxInfo:
        """Read `sandbox.json`. Raises FileNotFoundError, or ValueError for a malformed file."""
        data = json.loads(path.read_text(encoding="utf-8"))
        try:
            return cls(
                pid=int(data["pid"]),
                port=int(data["port"]),
                edge_port=int(data["edge_port"]),
                project_id=str(data["project_id"]),
                project_number=str(data["project_number"]),
                region=str(data["region"]),
                learner=str(data["learner"]),
                billing_account=str(data["billing_account"]),
                started=str(data["started"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} lacks {error}: stop the sandbox with `workbook stop` and start it again."
            ) from error


@dataclass(frozen=True)
class Target:
    """One world as a notebook sees it."""

    name: Literal["sandbox", "gcp"]
    project_id: str
    project_number: str
    region: str
    repository: str
    image: str
    registry_host: str
    registry: str
    registry_url: str
    run: str
    billing_account: str

    @property
    def labels(self) -> dict[str, str]:
        """The label of everything that the run creates."""
        return {LABEL: self.run}

    @property
    def location(self) -> names.Location:
        """The project's region as a name."""
        return names.Location(names.Project(self.project_id), self.region)

    @property
    def repository_name(self) -> names.Repository:
        """The workbook's repository as a name."""
        return names.Repository(self.location, self.repository)

    @property
    def sentence(self) -> str:
        """One line for the learner that says where commands go and who pays."""
        if self.name == "sandbox":
            return "sandbox on this machine; nothing is billed"
        return f"Google project {self.project_id}: what you create there is billed to it"

    @property
    def owned_prefixes(self) -> tuple[str, ...]:
        """The prefixes of image references that belong to this target only, each with a slash at its end.

        In the sandbox they cover the whole project, on Google the run's own repository.
        """
        host = self.location.host
        owned = f"{host}/{self.project_id}/" + ("" if self.name == "sandbox" else f"{self.repository}/")
        return tuple(dict.fromkeys((owned, self.registry.removesuffix(host) + owned)))

    @property
    def git_host(self) -> str:
        """The address of the API of the sandbox's Git host. Empty on Google, where the host is GitHub."""
        return f"http://{self.registry_host}/api.github.com" if self.name == "sandbox" else ""

    def docker_name(self, name: names.Repository | names.Image | names.Tag | names.Digest) -> str:
        """Return the name for docker, which in the sandbox begins with the plain port's address."""
        if not hasattr(name, "resource"):
            # Otherwise a learner's "1.0.1" would become the name of an image that doesn't exist.
            raise TypeError(f"{name!r} is text, and a name is wanted")
        return self.registry.removesuffix(self.location.host) + str(name)

    def canonical(self, text: str) -> str:
        """Return the text without the sandbox's address, as it would be on Google."""
        if self.name == "gcp":
            return text
        host = self.location.host
        for address in _addresses(self.registry_host):
            text = re.sub(rf"https?://{address}/({_GOOGLE_HOST})", r"https://\1", text)
            text = re.sub(rf"https?://{address}", f"https://{host}", text)
            text = re.sub(rf"{address}/({_GOOGLE_HOST})", r"\1", text)
            text = re.sub(address, host, text)
        return text

    def shows_sandbox(self, text: str) -> bool:
        """Return whether the text contains the address of the sandbox's plain port."""
        return self.name == "sandbox" and any(re.search(address, text) for address in _addresses(self.registry_host))


def _addresses(registry_host: str) -> tuple[str, ...]:
    port = registry_host.rpartition(":")[2]
    return (rf"(?<![\w.-])localhost:{port}(?!\d)", rf"(?<![\w.-])127\.0\.0\.1:{port}(?!\d)")


def current(environment: Mapping[str, str] | None = None) -> Target:
    """Return the target that the environment names. Raises NoTarget, with what to do, when it names none."""
    values = os.environ if environment is None else environment
    name = values.get("WORKBOOK_TARGET", "")
    if not name:
        raise NoTarget(
            "No target is configured in this environment. Open the notebooks with `make lab`, or run "
            '`eval "$(.venv/bin/workbook env)"` in this terminal first.'
        )
    if name not in ("sandbox", "gcp"):
        raise NoTarget(f"WORKBOOK_TARGET is {name!r}. Set it to sandbox or to gcp.")
    wanted = (
        "PROJECT_ID",
        "REGION",
        "REPOSITORY",
        "IMAGE",
        "REGISTRY_HOST",
        "REGISTRY",
        "REGISTRY_URL",
        "WORKBOOK_RUN",
    )
    missing = [variable for variable in wanted if not values.get(variable)]
    if missing:
        raise NoTarget(
            f"The environment lacks {', '.join(missing)}. Load it again with `workbook env`, or start `make lab` again."
        )
    return Target(
        name="sandbox" if name == "sandbox" else "gcp",
        project_id=values["PROJECT_ID"],
        project_number=values.get("PROJECT_NUMBER", ""),
        region=values["REGION"],
        repository=values["REPOSITORY"],
        image=values["IMAGE"],
        registry_host=values["REGISTRY_HOST"],
        registry=values["REGISTRY"],
        registry_url=values["REGISTRY_URL"],
        run=values["WORKBOOK_RUN"],
        billing_account=values.get("BILLING_ACCOUNT", ""),
    )


def admin(path: str, body: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Any | None:
    """Call the sandbox's admin API: GET (`status`), or with a body POST (`clock:advance`). Return None on Google.

    Raises requests.RequestException when the sandbox doesn't answer, or answers with an error.
    """
    # Imported here because it takes a quarter of a second, which `workbook env` needn't wait for.
    import requests

    values = os.environ if environment is None else environment
    url = values.get("SANDBOX_URL")
    if values.get("WORKBOOK_TARGET") != "sandbox" or not url:
        return None
    token = (Path(values["WORKBOOK_HOME"]) / "admin-token").read_text(encoding="utf-8").strip()
    with requests.Session() as session:
        # Never connect to the plain port through a proxy.
        session.trust_env = False
        answer = session.request(
            "GET" if body is None else "POST",
            f"{url}/_sandbox/{path}",
            json=None if body is None else dict(body),
            headers={"Authorization": f"Bearer {token}"},
            timeout=300,
        )
    answer.raise_for_status()
    return answer.json()


def upstream_proxy(environment: Mapping[str, str] | None = None) -> str:
    """Return the user's own HTTPS proxy, or "". `workbook env` keeps it in WORKBOOK_UPSTREAM_PROXY."""
    values = os.environ if environment is None else environment
    if values.get("WORKBOOK_TARGET") == "sandbox":
        return values.get("WORKBOOK_UPSTREAM_PROXY", "")
    return next((values[name] for name in _PROXY_VARIABLES if values.get(name)), "")


def process_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for the sandbox's own process: the user's, without variables of another sandbox."""
    values = dict(os.environ if environment is None else environment)
    proxy = upstream_proxy(values)
    if values.get("WORKBOOK_TARGET") == "sandbox":
        for variable in (*CA_VARIABLES, *_PROXY_VARIABLES):
            values.pop(variable, None)
    return values | {"WORKBOOK_UPSTREAM_PROXY": proxy}


def sandbox_environment(
    home: Path,
    info: SandboxInfo,
    engine: Mapping[str, str],
    *,
    run: str,
    python_image: str = "",
    base: Mapping[str, str] | None = None,
) -> dict[str, str | None]:
    """Return the changes that point an environment to the sandbox: name → value, or None to unset a variable.

    `engine` are the engine's variables (`DOCKER_HOST`, `DOCKER_BUILDKIT`), `base` the environment to change, by default
    os.environ.
    """
    values = os.environ if base is None else base
    host = f"{info.region}-docker.pkg.dev"
    address = f"localhost:{info.port}"
    edge = f"http://127.0.0.1:{info.edge_port}"
    bundle = str(home / "ca" / "bundle.pem")
    result: dict[str, str | None] = _without_foreign(values)
    result |= dict.fromkeys(CA_VARIABLES, bundle)
    result |= dict.fromkeys(_PROXY_VARIABLES, edge)
    result |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1")
    result |= {
        _CA_DIRECTORY: None,
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / "learner-key.json"),
        "REGISTRY_HOST": address,
        "REGISTRY": f"{address}/{host}",
        "REGISTRY_URL": f"http://{address}",
        "SANDBOX_URL": f"http://{address}",
        "REPOSITORY": REPOSITORY,
        "WORKBOOK_TARGET": "sandbox",
        "WORKBOOK_UPSTREAM_PROXY": upstream_proxy(values),
        "BILLING_ACCOUNT": info.billing_account,
    }
    result |= git_settings.changes(values, home)
    return result | _shared(home, info.project_id, info.project_number, info.region, run, engine, python_image, values)


def gcp_environment(
    home: Path,
    *,
    project_id: str,
    project_number: str,
    run: str,
    engine: Mapping[str, str],
    region: str = REGION,
    billing_account: str = "",
    python_image: str = "",
    base: Mapping[str, str] | None = None,
) -> dict[str, str | None]:
    """Return the changes that point an environment to a project on Google, with the user's own credentials."""
    values = os.environ if base is None else base
    host = f"{region}-docker.pkg.dev"
    result: dict[str, str | None] = _without_foreign(values)
    result |= {
        "REGISTRY_HOST": host,
        "REGISTRY": host,
        "REGISTRY_URL": f"https://{host}",
        "SANDBOX_URL": None,
        "REPOSITORY": f"{REPOSITORY}-{run}",
        "WORKBOOK_PLATFORM": None,
        "WORKBOOK_TARGET": "gcp",
        "WORKBOOK_UPSTREAM_PROXY": None,
        "BILLING_ACCOUNT": billing_account,
    }
    result |= git_settings.changes(values, None)
    return result | _shared(home, project_id, project_number, region, run, engine, python_image, values)


def _without_foreign(values: Mapping[str, str]) -> dict[str, str | None]:
    cloudsdk = [name for name in values if name.startswith("CLOUDSDK_") and name not in _CLOUDSDK_KEPT]
    return dict.fromkeys((*cloudsdk, *_FOREIGN))


def _shared(
    home: Path,
    project_id: str,
    project_number: str,
    region: str,
    run: str,
    engine: Mapping[str, str],
    python_image: str,
    values: Mapping[str, str],
) -> dict[str, str | None]:
    result: dict[str, str | None] = {
        "PROJECT_ID": project_id,
        "PROJECT_NUMBER": project_number,
        "REGION": region,
        "IMAGE": IMAGE,
        "GOOGLE_CLOUD_PROJECT": project_id,
        "CLOUDSDK_CONFIG": str(home / "gcloud"),
        "DOCKER_CONFIG": str(home / "docker"),
        "TZ": "UTC",
        "WORKBOOK_HOME": str(home),
        "WORKBOOK_RUN": run,
    }
    result |= dict(engine)
    if python_image:
        result["PYTHON_IMAGE"] = python_image
    path = with_gcloud_helpers(values.get("PATH", ""))
    if path != values.get("PATH", ""):
        result["PATH"] = path
    return result


def with_gcloud_helpers(path: str) -> str:
    """Return PATH, extended by the SDK's bin folder if it has gcloud but not docker-credential-gcloud.

    docker looks for the helper on PATH, and some packages link only `gcloud` into it.
    """
    from shutil import which

    gcloud = which("gcloud", path=path)
    if not gcloud or which("docker-credential-gcloud", path=path):
        return path
    beside = Path(gcloud).resolve().parent
    return f"{path}{os.pathsep}{beside}" if (beside / "docker-credential-gcloud").exists() else path


def apply(changes: Mapping[str, str | None], environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the environment with the changes made."""
    merged = {name: value for name, value in environment.items() if changes.get(name, value) is not None}
    return merged | {name: value for name, value in changes.items() if value is not None}
