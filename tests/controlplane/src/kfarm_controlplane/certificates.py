"""A certificate authority of our own, for one control plane's lifetime."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=365)
_SKEW = datetime.timedelta(minutes=5)
_USAGES = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, PEM-encoded in two files.

    Parameters
    ----------
    certificate
        Path of the certificate.
    key
        Path of the private key, readable by its owner only.
    """

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that writes its certificates into one folder.

    Parameters
    ----------
    directory
        Folder for certificates and keys; made if missing.
    name
        Common name, also the file name.
    rsa_key
        Whether its own key is RSA, for readers that know nothing else.
    """

    def __init__(self, directory: Path, name: str, *, rsa_key: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key: PrivateKey = _rsa_key() if rsa_key else _ec_key()
        self._name = _subject(name, ())
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(names, critical=False)
        )
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.files = self._write(name, self._certificate, self._key)

    @property
    def certificate(self) -> Path:
        """Path of the authority's own certificate."""
        return self.files.certificate

    def issue(self, name: str, groups: Iterable[str] = (), *, hosts: Iterable[str] = ()) -> KeyPair:
        """Issue a certificate for a client (user and groups) and for loopback servers.

        Parameters
        ----------
        name
            Common name: the user, for Kubernetes.
        groups
            Organizations: the groups, for Kubernetes.
        hosts
            Further host names of a server.
        """
        key = _ec_key()
        known = ("localhost", "kubernetes.default.svc", *hosts)
        names = [
            *(x509.DNSName(host) for host in known),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        builder = (
            self._builder(_subject(name, groups), key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        )
        return self._write(name, builder.sign(self._key, hashes.SHA256()), key)

    def _builder(self, subject: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + _LIFETIME)
        )

    def _write(self, name: str, certificate: x509.Certificate, key: PrivateKey) -> KeyPair:
        safe = name.replace(":", "-").replace("/", "-")
        pair = KeyPair(self._directory / f"{safe}.crt", self._directory / f"{safe}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(pair.key, key)
        return pair


def service_account_key(path: Path) -> Path:
    """Write a new RSA key that signs service account tokens, and return its path."""
    _write_key(path, _rsa_key())
    return path


def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _subject(name: str, groups: Iterable[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _write_key(path: Path, key: PrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
