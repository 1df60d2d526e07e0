"""The federation's own certificate authority: one P-256 key that signs for nobody else.

Certificates say what they may be used for, so that a device's certificate never passes for the
broker's. Validity begins a day early: boards without a battery start with a clock that is behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pfedfrz_protocol import ConfigurationError

from .names import host_address

__all__ = ["Authority", "TlsKey", "certificate_pem", "certified_key"]

_CA_DAYS = 20 * 365
_EARLY = timedelta(days=1)
_NO_USAGE = dict.fromkeys(
    (
        *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("encipher_only", "decipher_only"),
    ),
    False,
)


class TlsKey:
    """A private key for TLS: ECDSA on P-256."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private

    @classmethod
    def generate(cls) -> TlsKey:
        """A new key, from the system's randomness."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> TlsKey:
        """The key in a PEM file; ConfigurationError for anything else."""
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError("not an unencrypted private key in PEM form") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ConfigurationError("a private key of another kind; an ECDSA key is wanted")
        return cls(private)

    @property
    def public(self) -> ec.EllipticCurvePublicKey:
        """The half that goes into a certificate."""
        return self.private.public_key()

    @property
    def pem(self) -> bytes:
        """Unencrypted PKCS #8: for a file with mode 0600, nowhere else."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Authority:
    """The key that vouches for the broker and, in certificate mode, for everybody else."""

    def __init__(self, key: TlsKey, certificate: x509.Certificate) -> None:
        self.key = key
        self._certificate = certificate

    @classmethod
    def make(cls, federation: str, now: datetime) -> Authority:
        """A new authority, good for twenty years."""
        key = TlsKey.generate()
        # A number in the name: authorities of the same name would be taken for each other.
        name = _name(f"pfedfrz {federation} {x509.random_serial_number() % 16**8:08x}"[-64:])
        public = key.public
        certificate = (
            _builder(name, name, public, now, _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key.private, SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def load(cls, key_pem: bytes, certificate_pem: bytes) -> Authority:
        """The authority of these two files; ConfigurationError when they do not go together."""
        key = TlsKey.from_pem(key_pem)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
        except ValueError as error:
            raise ConfigurationError("not a certificate in PEM form") from error
        if certificate.public_key() != key.public:
            raise ConfigurationError("key and certificate do not go together")
        return cls(key, certificate)

    @property
    def pem(self) -> bytes:
        """The certificate, which everybody may have."""
        return certificate_pem(self._certificate)

    def issue_server(
        self, public: ec.EllipticCurvePublicKey, hosts: Sequence[str], now: datetime, days: int
    ) -> x509.Certificate:
        """The broker's certificate for these names and addresses."""
        addresses = [(host, host_address(host)) for host in hosts]
        names = [x509.DNSName(h) if a is None else x509.IPAddress(a) for h, a in addresses]
        subject = _name("pfedfrz broker")
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        return self._issue(public, subject, usage, now, days, names)

    def issue_client(
        self, public: ec.EllipticCurvePublicKey, name: str, now: datetime, days: int
    ) -> x509.Certificate:
        """A certificate with which its owner is the account `name`."""
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue(public, _name(name), usage, now, days, [])

    def revocations(self, revoked: Iterable[tuple[int, datetime]], now: datetime) -> bytes:
        """The list of revoked serial numbers, PEM. It holds as long as the authority itself.

        A list that ends would lock out everybody on a day that nobody remembers.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _EARLY)
            .next_update(self._certificate.not_valid_after_utc)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
            .add_extension(self._identifier, critical=False)
        )
        for serial, at in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key.private, SHA256()).public_bytes(Encoding.PEM)

    @property
    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public)

    def _issue(
        self,
        public: ec.EllipticCurvePublicKey,
        subject: x509.Name,
        usage: x509.ObjectIdentifier,
        now: datetime,
        days: int,
        names: Sequence[x509.GeneralName],
    ) -> x509.Certificate:
        builder = (
            _builder(subject, self._certificate.subject, public, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._identifier, critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key.private, SHA256())


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate as a file."""
    return certificate.public_bytes(Encoding.PEM)


def certified_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a certificate of ours is for; ConfigurationError for anything else."""
    try:
        key = x509.load_pem_x509_certificate(pem).public_key()
    except ValueError as error:
        raise ConfigurationError("not a certificate in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigurationError("a certificate for a key of another kind; ECDSA is wanted")
    return key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        **_NO_USAGE,
    )
