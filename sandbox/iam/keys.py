"""Keys: of service accounts, whose private half is handed out once, and Google's own, which signs ID tokens."""

from __future__ import annotations

import sqlite3

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.state.clock import timestamp
from sandbox.state.world import World


def create(rows: sqlite3.Connection, world: World, project_id: str, email: str, key_id: str) -> dict[str, str]:
    """Make a new key of a service account, and return the key file that Google hands out once.

    Source: https://cloud.google.com/iam/docs/keys-create-delete (fields of the file; keys without an end date expire
    on 9999-12-31).
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    rows.execute(
        "INSERT INTO service_account_keys (id, email, public_key, create_time, expire_time) VALUES (?, ?, ?, ?, ?)",
        (key_id, email, public.decode(), timestamp(world.now()), "9999-12-31T23:59:59Z"),
    )
    unique_id = rows.execute("SELECT unique_id FROM service_accounts WHERE email = ?", (email,)).fetchone()["unique_id"]
    return {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": key_id,
        "private_key": private.decode(),
        "client_email": email,
        "client_id": unique_id,
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email.replace('@', '%40')}",
        "universe_domain": "googleapis.com",
    }


def id_token_signing_key(world: World) -> str:
    """Return the private key as PEM; made when the first ID token is asked for."""
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
    """Return the public half. Looking is no change: a fixed clock does not tick."""
    with world.reading() as rows:
        row = rows.execute("SELECT value FROM meta WHERE key = 'id_token_key'").fetchone()
    pem = str(row["value"]) if row else id_token_signing_key(world)
    key = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - it is made above
    return key.public_key()
