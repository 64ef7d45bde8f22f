"""RSA keys: those of service accounts, and the one that signs ID tokens in Google's name."""

from __future__ import annotations

import sqlite3

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.state import schema
from sandbox.state.clock import timestamp
from sandbox.state.world import World


def new_pem() -> tuple[rsa.RSAPublicKey, str]:
    """Generate a key, and return its public half and the private half as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.public_key(), pem.decode()


def create(rows: sqlite3.Connection, world: World, project_id: str, email: str, key_id: str) -> dict[str, str]:
    """Create a key of a service account, and return the key file. The private half is not stored.

    Source: https://cloud.google.com/iam/docs/keys-create-delete (fields of the file; keys without an end date expire
    on 9999-12-31).
    """
    key, private = new_pem()
    public = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    rows.execute(
        "INSERT INTO service_account_keys (id, email, public_key, create_time, expire_time) VALUES (?, ?, ?, ?, ?)",
        (key_id, email, public.decode(), timestamp(world.now()), "9999-12-31T23:59:59Z"),
    )
    unique_id = rows.execute("SELECT unique_id FROM service_accounts WHERE email = ?", (email,)).fetchone()["unique_id"]
    return {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": key_id,
        "private_key": private,
        "client_email": email,
        "client_id": unique_id,
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{email.replace('@', '%40')}",
        "universe_domain": "googleapis.com",
    }


def id_token_signing_key(world: World) -> str:
    """Return the private key as PEM. The first call generates it."""
    with world.writing() as rows:
        pem = schema.meta(rows, "id_token_key")
        if pem is None:
            _, pem = new_pem()
            schema.put_meta(rows, "id_token_key", pem)
        return pem


def id_token_public_key(world: World) -> rsa.RSAPublicKey:
    """Return the public half. Reading it does not tick a fixed clock."""
    with world.reading() as rows:
        pem = schema.meta(rows, "id_token_key")
    key = serialization.load_pem_private_key((pem or id_token_signing_key(world)).encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)  # noqa: S101 - `new_pem` made it
    return key.public_key()
