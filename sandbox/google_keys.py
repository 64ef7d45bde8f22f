"""The key that stands for Google's own: ID tokens are signed with it, and services check them with it."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.world import World


def id_token_signing_key(world: World) -> str:
    """The private key as PEM; made when the first ID token is asked for."""
    with world.writing() as rows:
        row = rows.execute("SELECT value FROM meta WHERE key = 'id_token_key'").fetchone()
        if row:
            return str(row["value"])
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        rows.execute("INSERT INTO meta VALUES ('id_token_key', ?)", (pem,))
        return pem


def id_token_public_key(world: World) -> rsa.RSAPublicKey:
    """The public half. Looking is no change: a fixed clock does not tick."""
    with world.reading() as rows:
        row = rows.execute("SELECT value FROM meta WHERE key = 'id_token_key'").fetchone()
    pem = str(row["value"]) if row else id_token_signing_key(world)
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - it is made above
    return key.public_key()
