"""Route a request to git's protocol at github.com or to the REST API at api.github.com."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sandbox.git_host import rest, transport
from sandbox.state.world import World


async def serve(world: World, request: Request, host: str, path: str) -> Response:
    """Answer one request."""
    if host == "api.github.com":
        return await rest.serve(request, world, path)
    return await transport.serve(request, world, path)
