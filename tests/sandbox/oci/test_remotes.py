"""Pull images through remote and virtual repositories."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from tests.sandbox.oci.conftest import HOST, SERVICE, Registry, serving


def _parent(registry: Registry) -> str:
    return f"{SERVICE}/v1/projects/{registry.project}/locations/us-central1/repositories"


def _create(registry: Registry, **body: Any) -> str:
    """Create a repository of images, and return its id."""
    name = f"r-{secrets.token_hex(4)}"
    registry.api("POST", f"{_parent(registry)}?repositoryId={name}", {"format": "DOCKER", **body})
    return name


def _resource(registry: Registry, name: str) -> str:
    return f"projects/{registry.project}/locations/us-central1/repositories/{name}"


def _remote(registry: Registry, address: str) -> str:
    config = {"commonRepository": {"uri": address}}
    return _create(registry, mode="REMOTE_REPOSITORY", remoteRepositoryConfig=config)


def _virtual(registry: Registry, **priorities: int) -> str:
    policies = [
        {"id": name, "repository": _resource(registry, name), "priority": priority}
        for name, priority in priorities.items()
    ]
    return _create(registry, mode="VIRTUAL_REPOSITORY", virtualRepositoryConfig={"upstreamPolicies": policies})


def _push(registry: Registry, name: str, tag: str, layer: bytes) -> str:
    return registry.push_manifest(name, tag, registry.image(name, layer))


def _pulled(registry: Registry, name: str, tag: str) -> list[bytes]:
    """Pull an image, and return its layers."""
    manifest = registry.call("GET", f"{name}/manifests/{tag}")
    assert manifest.status_code == 200, manifest.text
    found = []
    for entry in (manifest.json()["config"], *manifest.json()["layers"]):
        answer = registry.call("GET", f"{name}/blobs/{entry['digest']}")
        while answer.status_code in (302, 307):
            answer = registry.session.get(answer.headers["Location"], timeout=30)
        assert answer.status_code == 200, answer.text
        found.append(answer.content)
    return found[1:]


def test_cached_image_needs_no_upstream(registry: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "far") as other:
        _push(other, other.name("base", "public"), "1", b"first")
        remote = _remote(registry, f"http://localhost:{other.port}")
        name = registry.name(f"{HOST}/{other.project}/public/base", remote)
        assert registry.call("GET", f"{name}/manifests/nothing").status_code == 404
        assert _pulled(registry, name, "1") == [b"first"]
        unread = registry.name(f"{HOST}/{other.project}/second/base", remote)
        assert registry.call("GET", f"{unread}/manifests/1").status_code == 404
    assert _pulled(registry, name, "1") == [b"first"]
    listed = registry.api("GET", f"{_parent(registry)}/{remote}/dockerImages")["dockerImages"]
    assert [image["tags"] for image in listed] == [["1"]]
    assert int(registry.api("GET", f"{_parent(registry)}/{remote}")["sizeBytes"]) > len(b"first")


def test_cached_tag_is_served_after_it_moved_upstream(registry: Registry) -> None:
    """The upstream is the same sandbox under its URL, like any other registry."""
    upstream = registry.name(f"base-{secrets.token_hex(4)}", "public")
    _push(registry, upstream, "1", b"first")
    name = registry.name(upstream, _remote(registry, registry.base))
    assert _pulled(registry, name, "1") == [b"first"]
    digest = _push(registry, upstream, "1", b"second")
    assert _pulled(registry, name, "1") == [b"first"]
    assert _pulled(registry, name, digest) == [b"second"]


def test_virtual_repository_uses_the_highest_priority(registry: Registry) -> None:
    own, public = _create(registry), _create(registry)
    _push(registry, registry.name("tool", own), "1", b"own")
    _push(registry, registry.name("tool", public), "1", b"a stranger's")
    _push(registry, registry.name("other", public), "1", b"other")
    remote = _remote(registry, _resource(registry, public))
    first = _virtual(registry, **{own: 20, remote: 10})
    last = _virtual(registry, **{own: 10, remote: 20})
    assert _pulled(registry, registry.name("tool", first), "1") == [b"own"]
    assert _pulled(registry, registry.name("tool", last), "1") == [b"a stranger's"]
    assert _pulled(registry, registry.name("other", first), "1") == [b"other"]
    assert registry.call("GET", f"{registry.name('tool', first)}/tags/list").json()["tags"] == ["1"]


def test_push_to_remote_or_virtual_repository_is_refused(registry: Registry) -> None:
    own = _create(registry)
    for made, kind in (
        (_remote(registry, _resource(registry, own)), "remote"),
        (_virtual(registry, **{own: 1}), "virtual"),
    ):
        answer = registry.call("POST", f"{registry.name('tool', made)}/blobs/uploads/")
        assert answer.status_code == 403
        assert f"is a {kind} repository" in answer.json()["errors"][0]["message"]
