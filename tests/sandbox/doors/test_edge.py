"""The edge: TLS for Google's hosts with a certificate of ours, and a tunnel for every other."""

from __future__ import annotations

import datetime as dt
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cli.world import starter
from cli.world.starter import World
from sandbox.doors import certificates
from sandbox.doors.certificates import DOMAINS, Authority, is_google

API = "https://artifactregistry.googleapis.com/v1/projects/p/locations"


@pytest.fixture
def proxies(world: World) -> dict[str, str]:
    address = f"http://127.0.0.1:{world.info.edge_port}"
    return {"https": address, "http": address}


@pytest.fixture
def bundle(world: World) -> str:
    return str(world.home / "ca" / "bundle.pem")


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A plain web server that is not Google's; its port."""

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"hello {self.path} {self.headers['Host']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_answers_for_google_over_tls(proxies: dict[str, str], bundle: str) -> None:
    answer = requests.get(API, proxies=proxies, verify=bundle, timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"


def test_it_answers_many_calls_on_one_connection(proxies: dict[str, str], bundle: str) -> None:
    with requests.Session() as session:
        # What the environment says about certificates would win over the session's.
        session.trust_env = False
        session.proxies, session.verify = proxies, bundle
        assert {session.get(API, timeout=10).status_code for _ in range(50)} == {401}


def test_absolute_form_requests_are_answered_too(proxies: dict[str, str]) -> None:
    answer = requests.get(API.replace("https", "http"), proxies=proxies, timeout=10)
    assert answer.status_code == 401


def test_other_hosts_are_led_through_untouched(proxies: dict[str, str], elsewhere: int) -> None:
    answer = requests.get(f"http://127.0.0.1:{elsewhere}/a?b=c", proxies=proxies, timeout=10)
    assert answer.text == f"hello /a?b=c 127.0.0.1:{elsewhere}"


def test_a_tunnel_carries_bytes_both_ways(world: World, elsewhere: int) -> None:
    with socket.create_connection(("127.0.0.1", world.info.edge_port), timeout=10) as connection:
        connection.sendall(f"CONNECT 127.0.0.1:{elsewhere} HTTP/1.1\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /x HTTP/1.0\r\nHost: y\r\n\r\n")
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
    assert received.endswith(b"hello /x y")
    # Whoever wants to know where a client went finds it in the log.
    assert f"tunnel to 127.0.0.1:{elsewhere}" in (world.home / "sandbox.log").read_text()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"CONNECT artifactregistry.googleapis.com:80 HTTP/1.1\r\n\r\n", b"403"),
        (b"CONNECT artifactregistry.googleapis.com:x HTTP/1.1\r\n\r\n", b"502"),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", b"502"),
        (b"CONNECT artifactregistry.googleapis.com:443 HTTP/1.1\r\n\r\n\x16\x03\x01", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000, b"431"),
    ],
)
def test_what_it_does_not_take_it_refuses_with_a_sentence(world: World, said: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", world.info.edge_port), timeout=20) as connection:
        connection.sendall(said)
        received = connection.recv(4096)
    assert received.split(b" ")[1] == status
    assert received.split(b"\r\n\r\n")[1].endswith(b".\n")


def test_what_comes_with_connect_is_led_through(world: World, elsewhere: int) -> None:
    with socket.create_connection(("127.0.0.1", world.info.edge_port), timeout=10) as connection:
        ask = f"CONNECT 127.0.0.1:{elsewhere} HTTP/1.1\r\n\r\nGET /early HTTP/1.0\r\nHost: y\r\n\r\n"
        connection.sendall(ask.encode())
        received = b"".join(iter(lambda: connection.recv(4096), b""))
    assert received.endswith(b"hello /early y")


def test_a_head_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(starter.OPTIONS, "--patience 0.5")
    opened = starter.start(tmp_path, project="ml-workbook-heads", port=0)
    try:
        with socket.create_connection(("127.0.0.1", opened.info.edge_port), timeout=20) as connection:
            connection.sendall(b"CONNECT artifactregistry.googleapis.com:443 HTT")
            received = b"".join(iter(lambda: connection.recv(4096), b""))
    finally:
        starter.stop(tmp_path)
    assert received.startswith(b"HTTP/1.1 408 ")


def test_without_the_bundle_the_certificate_is_not_trusted(proxies: dict[str, str]) -> None:
    import certifi

    with pytest.raises(requests.exceptions.SSLError):
        requests.get(API, proxies=proxies, verify=certifi.where(), timeout=10)


def test_a_strict_client_accepts_the_certificate(world: World, bundle: str) -> None:
    """Python 3.13 checks X.509 strictly by default; older ones can be asked to."""
    context = ssl.create_default_context(cafile=bundle)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    host = "artifactregistry.us-central1.rep.googleapis.com"
    with socket.create_connection(("127.0.0.1", world.info.edge_port), timeout=10) as connection:
        connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())
        assert b"200" in connection.recv(100)
        with context.wrap_socket(connection, server_hostname=host) as tls:
            assert tls.version() in ("TLSv1.2", "TLSv1.3")


def test_the_authority_is_constrained_short_lived_and_private(world: World) -> None:
    folder: Path = world.home / "ca"
    certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {name.value for name in constraints.value.permitted_subtrees or []} == set(DOMAINS)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days <= 30
    assert {oct((folder / name).stat().st_mode & 0o777) for name in ("ca.key", "leaf.key")} == {"0o600"}


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1", "evil-googleapis.com"])
def test_a_certificate_signed_with_a_stolen_key_is_refused_by_clients(tmp_path: Path, host: str) -> None:
    """Whoever gets the key can still name none but Google's hosts."""
    Authority(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "ca.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        # Python 3.13 requires it.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "forged.pem").write_bytes(forged.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "forged.pem", tmp_path / "ca.key")
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem")).wrap_bio(ours, theirs, server_hostname=host)
    answering = server.wrap_bio(theirs, ours, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        answering.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
        client.do_handshake()


def test_no_certificate_is_made_for_a_host_that_is_not_google_s(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with pytest.raises(ValueError, match="not one of Google's"):
        authority.context("example.com")


def test_the_authority_stays_the_same_until_it_is_about_to_expire(tmp_path: Path) -> None:
    Authority(tmp_path)
    first = (tmp_path / "ca.pem").read_bytes()
    Authority(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() == first


def move_clock(monkeypatch: pytest.MonkeyPatch, days: int) -> dt.datetime:
    """Set the wall clock that the authority sees; the time that it is then."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    monkeypatch.setattr(certificates, "_now", lambda: moment)
    return moment


@pytest.mark.parametrize("days", [24, 40, -2], ids=["about to expire", "expired", "the clock went back"])
def test_the_authority_is_renewed_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    authority = Authority(tmp_path)
    before = authority.context("pkg.dev")
    first = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    now = move_clock(monkeypatch, days)
    assert authority.context("pkg.dev") is not before
    second = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    assert second.not_valid_before_utc <= now < second.not_valid_after_utc - certificates.RENEW_BEFORE
    # What a client read before goes on being true, and a new client reads the new one.
    assert second.public_key() == first.public_key()
    assert (tmp_path / "ca.pem").read_bytes() in (tmp_path / "bundle.pem").read_bytes()
    leaf = x509.load_pem_x509_certificate((tmp_path / "leaf.pem").read_bytes())
    leaf.verify_directly_issued_by(first)


def test_an_authority_of_the_future_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Authority(tmp_path)
    first = (tmp_path / "ca.pem").read_bytes()
    move_clock(monkeypatch, -2)
    Authority(tmp_path)
    assert (tmp_path / "ca.pem").read_bytes() != first


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("artifactregistry.googleapis.com", True),
        ("us-central1-docker.pkg.dev", True),
        ("evilgoogleapis.com", False),
        ("googleapis.com.example.org", False),
        ("dl.google.com", False),
        ("localhost", False),
    ],
)
def test_which_hosts_are_google_s(host: str, expected: bool) -> None:
    assert is_google(host) is expected


def test_the_plain_port_refuses_a_host_name_that_it_does_not_have(world: World) -> None:
    """A page in a browser cannot reach the sandbox by a name of its own (DNS rebinding)."""
    answer = requests.get(
        f"http://127.0.0.1:{world.info.port}/_sandbox/status", headers={"Host": "evil.example"}, timeout=10
    )
    assert answer.status_code == 421


def test_the_admin_surface_wants_its_own_token(world: World) -> None:
    url = f"http://localhost:{world.info.port}/_sandbox/status"
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, headers={"Authorization": "Bearer x"}, timeout=10).status_code == 401
    token = (world.home / "admin-token").read_text().strip()
    assert requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).json()["status"] == "ready"
