"""JupyterHub's configuration for the room; JupyterHub runs this file and defines `get_config`."""

from __future__ import annotations

import os
import sys
from typing import Any

from helpers.target import ROOT
from room import places

_OWN = ("CONFIGPROXY_", "JUPYTERHUB_", "WORKBOOK_HOME")

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821
_folder = places.folder()
_lead, _learners = places.lead(), places.learners()
_port = int(os.environ.get("WORKBOOK_ROOM_PORT") or 8000)

# Only loopback: the lead chooses how a class gets there, with TLS in front (docs/room.md).
c.JupyterHub.bind_url = f"http://127.0.0.1:{_port}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{_port + 1}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{_port + 2}"
c.ConfigurableHTTPProxy.command = [os.environ["WORKBOOK_ROOM_PROXY"]]
c.ConfigurableHTTPProxy.pid_file = str(_folder / "proxy.pid")
c.JupyterHub.db_url = f"sqlite:///{_folder / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(_folder / "cookie-secret")

c.JupyterHub.authenticator_class = "firstuseauthenticator.FirstUseAuthenticator"
c.FirstUseAuthenticator.dbm_path = str(_folder / "passwords")
c.FirstUseAuthenticator.create_users = False
c.FirstUseAuthenticator.min_password_length = 8
c.Authenticator.allowed_users = {*_learners, _lead}

# The lead begins at the room's page, without a server. The handler has no user before the sign-in.
c.JupyterHub.default_url = lambda handler: (
    "/services/room/" if handler.current_user and handler.current_user.name == _lead else "/hub/spawn"
)

c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(_folder / "learners" / "{username}")
c.Spawner.cmd = [sys.executable, "-m", "room.seat"]
c.Spawner.default_url = "/lab/tree/00_start_here.ipynb"
c.Spawner.environment = {"PYTHONPATH": str(ROOT)}
# Everything except the Hub's own variables and the lead's.
c.Spawner.env_keep = [name for name in os.environ if not name.startswith(_OWN) and name not in ("HOME", "USER")]
# The first learner's server may have to start an engine.
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 180

c.JupyterHub.services = [
    {
        "name": "room",
        "url": f"http://127.0.0.1:{_port + 3}",
        "command": [sys.executable, "-m", "room.service"],
        "environment": {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
        | {"PYTHONPATH": str(ROOT)},
        "display": False,
        "oauth_no_confirm": True,
    }
]
c.JupyterHub.load_roles = [
    # Not an admin of the Hub, who could open every server: the lead may look at notebooks only with leave.
    {"name": "lead", "users": [_lead], "scopes": ["access:services!service=room"]},
    {"name": "room", "services": ["room"], "scopes": ["list:users", "read:servers", "delete:servers"]},
]
