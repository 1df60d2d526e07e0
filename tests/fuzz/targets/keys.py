"""Keys in PEM form, chains of rotations, and the coordinator's key that a device has pinned."""

from __future__ import annotations

import msgspec
from identities import key_of
from json_mutation import change_json
from message_examples import nasty_json
from recipe import Recipe, scratch

from pfedfrz_edge.trust import CoordinatorTrust
from pfedfrz_protocol import (
    ConfigurationError,
    OperationError,
    SigningKey,
    Succession,
    follow_successions,
    make_succession,
    verifies,
)
from pfedfrz_storage import load_or_make_identity

KEY = key_of("me")
OWNER = "lab/device/me"
PEM, SUCCESSIONS, PINNED, CHAIN, SIGNATURE = range(5)


def target(data: bytes) -> None:
    """The first byte is what the rest is."""
    recipe = Recipe(data)
    form, body = recipe.number() % 5, recipe.rest()
    folder = scratch() / "keys"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    if form == PEM:
        try:
            SigningKey.from_pem(body)
        except ConfigurationError:
            pass
    elif form == SUCCESSIONS:
        (folder / "me.key").write_bytes(KEY.to_pem())
        (folder / "me.key").chmod(0o600)
        (folder / "me.key.successions").write_bytes(body)
        try:
            load_or_make_identity(folder / "me.key")
        except (ConfigurationError, OperationError):
            pass
    elif form == PINNED:
        (folder / "coordinator-key.json").write_bytes(body)
        try:
            trust = CoordinatorTrust(folder, "lab", None)
        except OperationError:
            return
        verifies(trust.key or "", "x", b"", bytes(64))
    elif form == CHAIN:
        try:
            links = msgspec.json.decode(body, type=tuple[Succession, ...])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        claimed = "f" * 64
        assert not follow_successions(KEY.public, claimed, links, OWNER)
    else:
        text = body[64:].decode("utf-8", "surrogateescape")
        assert not verifies(text, "x", body, body[:64])


def mutate(data: bytes, limit: int, seed: int) -> bytes | None:
    if not data or data[0] % 5 in (PEM, SIGNATURE):
        return None
    changed = change_json(data[1:], limit - 1, seed)
    return None if changed is None else data[:1] + changed


def seeds() -> dict[str, bytes]:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x25519
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    def pem(key: object, secret: bytes = b"") -> bytes:
        hidden = BestAvailableEncryption(secret) if secret else NoEncryption()
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)  # type: ignore[attr-defined, no-any-return]

    links = [make_succession(KEY, key_of("next").public, OWNER)]
    chain = msgspec.json.encode(links)
    own = KEY.to_pem()
    curve = pem(ec.generate_private_key(ec.SECP256R1()))
    found = {
        "pem": own,
        "pem-truncated": own[:60],
        "pem-curve": curve,
        "pem-other": pem(x25519.X25519PrivateKey.generate()),
        "pem-rsa": pem(rsa.generate_private_key(65537, 1024)),
        "pem-dsa": pem(dsa.generate_private_key(1024)),
        "pem-encrypted": pem(KEY._private, b"secret"),
        "pem-unknown": b"-----BEGIN PRIVATE KEY-----\nMBQCAQAwCQYHKgMEBQYHCAQEAAAAAA==\n-----END PRIVATE KEY-----\n",
        "pem-openssh": KEY._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        "pem-legacy": b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        "pem-twice": own + own,
        "pem-large": own[:28] + b"A" * 4000 + own[28:],
        "pem-bad-utf-8": own.replace(b"PRIVATE", b"PRIV\xffTE"),
    }  # fmt: skip
    made = {name: bytes([PEM]) + body for name, body in found.items()}
    for form, name in ((SUCCESSIONS, "successions"), (CHAIN, "chain")):
        made[name] = bytes([form]) + chain
        made[f"{name}-many"] = bytes([form]) + b"[" + b",".join([chain[1:-1]] * 40) + b"]"
    pinned = b'{"root":"","key":"' + b"0" * 64 + b'"}'
    made["pinned"] = bytes([PINNED]) + pinned
    made["pinned-foreign"] = bytes([PINNED]) + '{"root":"é","key":"١"}'.encode()
    for name, body in nasty_json().items():
        for form, kind in ((SUCCESSIONS, "successions"), (PINNED, "pinned")):
            if name.startswith(("deep-arr", "bad", "dup", "lone", "empty", "trunc")):
                made[f"{kind}-{name}"] = bytes([form]) + body
    made["signature"] = bytes([SIGNATURE]) + bytes(64) + KEY.public.encode()
    made["signature-no-point"] = bytes([SIGNATURE]) + bytes(64) + b"f" * 64
    return made
