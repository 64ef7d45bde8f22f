"""The sandbox's certificate authority, with which the edge ends TLS for Google's host names.

It is created at the first start, valid for a short time, and constrained by name to Google's hosts. Its key is readable
by the owner only. It is in no system store: clients use `ca/bundle.pem`, which has the host's authorities and this one.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# The domains for which the edge answers. All others are tunnelled unchanged.
DOMAINS = ("googleapis.com", "pkg.dev", "gcr.io", "run.app", "accounts.google.com")

_EVERY_ADDRESS = (x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")), x509.IPAddress(ipaddress.ip_network("::/0")))

LIFETIME = dt.timedelta(days=30)
RENEW_BEFORE = dt.timedelta(days=7)


def is_google(host: str) -> bool:
    """Return whether the edge answers for a host name."""
    return any(host == domain or host.endswith(f".{domain}") for domain in DOMAINS)


def _write_private(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    path.chmod(0o600)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _host_authorities(own_bundle: Path) -> bytes:
    """Return the authorities that this machine trusts, but not a sandbox's own bundle from the environment."""
    candidates = [
        *(os.environ.get(name, "") for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")),
        ssl.get_default_verify_paths().cafile or "",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        certifi.where(),
    ]
    for candidate in candidates:
        path = Path(candidate)
        if candidate and path.is_file() and path.resolve() != own_bundle.resolve() and path.name != "bundle.pem":
            return path.read_bytes()
    return b""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _is_good(certificate: x509.Certificate) -> bool:
    now = _now()
    return certificate.not_valid_before_utc <= now and certificate.not_valid_after_utc - now > RENEW_BEFORE


class Authority:
    """The CA of one world.

    Args:
        folder: the folder of `ca.pem`, `ca.key` and `bundle.pem`, which are created if missing or about to expire.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._contexts: dict[str, ssl.SSLContext] = {}
        if not self._load():
            self._make(ec.generate_private_key(ec.SECP256R1()))
        self._write_bundle()
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        _write_private(folder / "leaf.key", _pem(self._leaf_key))

    def _write_bundle(self) -> None:
        bundle = self._folder / "bundle.pem"
        certificate = self._certificate.public_bytes(serialization.Encoding.PEM)
        part = self._folder / ".bundle.part"
        part.write_bytes(_host_authorities(bundle).rstrip() + b"\n" + certificate)
        # Atomically, since clients may read it at any moment.
        part.rename(bundle)

    def _load(self) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate((self._folder / "ca.pem").read_bytes())
            key = serialization.load_pem_private_key((self._folder / "ca.key").read_bytes(), password=None)
        except (FileNotFoundError, ValueError):
            return False
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            return False
        self._certificate, self._key = certificate, key
        return _is_good(certificate)

    def renew(self) -> None:
        """Replace the certificate if it is about to expire, or is not valid yet because the clock went back.

        The key stays the same, so that clients that have read the bundle trust the new certificate.
        """
        if _is_good(self._certificate):
            return
        self._make(self._key)
        self._write_bundle()
        self._contexts.clear()

    def _make(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Artifact Registry workbook sandbox (local only)")])
        now = _now()
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(certificate_sign=True), critical=True)
            # Without the second list, certificates for IP addresses would be allowed.
            .add_extension(
                x509.NameConstraints([x509.DNSName(domain) for domain in DOMAINS], list(_EVERY_ADDRESS)), critical=True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write_private(self._folder / "ca.key", _pem(self._key))
        (self._folder / "ca.pem").write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, host: str) -> ssl.SSLContext:
        """Return a server context with a certificate for one of Google's host names. Raises ValueError for others."""
        if not is_google(host):
            raise ValueError(f"{host} is not one of Google's hosts")
        self.renew()
        if host not in self._contexts:
            certificate = self._folder / "leaf.pem"
            certificate.write_bytes(self._leaf(host).public_bytes(serialization.Encoding.PEM))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, self._folder / "leaf.key")
            # In the order of preference. Only gRPC clients, which offer nothing else, get HTTP/2.
            context.set_alpn_protocols(["http/1.1", "h2"])
            self._contexts[host] = context
        return self._contexts[host]

    def _leaf(self, host: str) -> x509.Certificate:
        now = _now()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])]))
            .issuer_name(self._certificate.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(self._certificate.not_valid_after_utc)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._leaf_key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )


def _key_usage(*, digital_signature: bool = False, certificate_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        encipher_only=False,
        decipher_only=False,
    )
