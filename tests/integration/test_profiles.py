# SPDX-License-Identifier: MIT
"""The certificates, requests and CRLs of agent/ca, judged by OpenSSL, Go and Python's cryptography."""

import datetime
import hashlib
import ipaddress
import os
import pathlib
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import CRLEntryExtensionOID, ExtendedKeyUsageOID, ExtensionOID, NameOID

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("XYLEM_BIN", TOP / "build" / "dev" / "bin"))
KINDS = ["ec224", "ec256", "ec384", "ec521", "rsa2048", "rsa3072", "rsa4096", "ed25519256"]
TRUST_DOMAIN = "spiffe://11111111-2222-3333-4444-555555555555.consul"
LEAF_URI = TRUST_DOMAIN + "/ns/default/dc/dc1/svc/web"
HOUR, DAY, YEAR = 3600, 86400, 365 * 86400

KEY_USAGE, EKU, BASIC, SKI, AKI, SAN = (
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
)
CA_USAGE = {"digital_signature", "key_cert_sign", "crl_sign"}
LEAF_USAGE = {"digital_signature", "key_encipherment", "data_encipherment", "key_agreement"}


class Profiles:
    def __init__(self, directory, now):
        self.directory, self.now = directory, now

    def path(self, kind, name):
        return str(self.directory / kind / name)

    def read(self, kind, name):
        return (self.directory / kind / name).read_bytes()

    def certificate(self, kind, name):
        return x509.load_pem_x509_certificate(self.read(kind, name))


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    directory, now = tmp_path_factory.mktemp("profiles"), int(time.time())
    subprocess.run([BIN / "make_profiles", directory, str(now)], check=True, timeout=120)
    return Profiles(directory, now)


def unix(certificate, which):
    """Dates as unix seconds, whatever the version of the library calls them."""
    aware = getattr(certificate, which + "_utc", None)
    if aware is None:
        aware = getattr(certificate, which).replace(tzinfo=datetime.timezone.utc)
    return int(aware.timestamp())


def key_id(certificate):
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()


def value(certificate, oid):
    return certificate.extensions.get_extension_for_oid(oid).value


def check_extensions(certificate, expected):
    """`expected`: pairs of OID and criticality in wire order."""
    assert [(e.oid, e.critical) for e in certificate.extensions] == expected


def check_usage(certificate, expected):
    usage = value(certificate, KEY_USAGE)
    names = CA_USAGE | LEAF_USAGE | {"content_commitment"}
    assert {name for name in names if getattr(usage, name)} == expected
    assert not usage.key_agreement or not (usage.encipher_only or usage.decipher_only)


def check_key_ids(certificate, issuer):
    assert value(certificate, SKI).digest == key_id(certificate)
    aki = value(certificate, AKI)
    assert aki.key_identifier == value(issuer, SKI).digest
    assert aki.authority_cert_issuer is None and aki.authority_cert_serial_number is None


def check_dates(certificate, begin, length):
    assert unix(certificate, "not_valid_before") == begin
    assert unix(certificate, "not_valid_after") == begin + length


def check_crl_signature(crl, key):
    if crl.signature_hash_algorithm is None:  # Ed25519, which older versions of the library do not verify
        key.verify(crl.signature, crl.tbs_certlist_bytes)
    else:
        assert crl.is_signature_valid(key)


def check_ca_name(name, expected_role="pri"):
    (attribute,) = list(name)
    assert attribute.oid == NameOID.COMMON_NAME
    assert attribute._type.name == "PrintableString"
    role, rest = attribute.value.split("-", 1)
    uid, rest = rest.split(".", 1)
    assert role == expected_role and rest == "consul.ca.11111111.consul"
    assert 7 <= len(uid) <= 8 and set(uid) <= set("0123456789abcdefghijklmnopqrstuvwxyz")


def root_hash(kind):
    return {"ec384": hashes.SHA384, "ec521": hashes.SHA512, "ed25519256": type(None)}.get(kind, hashes.SHA256)


def other_hash(kind):
    return type(None) if kind == "ed25519256" else hashes.SHA256


@pytest.mark.parametrize("kind", KINDS)
def test_root(profiles, kind):
    root = profiles.certificate(kind, "root.pem")
    assert root.version == x509.Version.v3 and root.serial_number == 7
    assert root.issuer == root.subject
    check_ca_name(root.subject)
    check_extensions(root, [(KEY_USAGE, True), (BASIC, True), (SKI, False), (AKI, False), (SAN, False)])
    check_usage(root, CA_USAGE)
    assert value(root, BASIC) == x509.BasicConstraints(ca=True, path_length=None)
    check_key_ids(root, root)
    assert list(value(root, SAN)) == [x509.UniformResourceIdentifier(TRUST_DOMAIN)]
    check_dates(root, profiles.now, 10 * YEAR)
    assert isinstance(root.signature_hash_algorithm, root_hash(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_leaf(profiles, kind):
    root, leaf = profiles.certificate(kind, "root.pem"), profiles.certificate(kind, "leaf.pem")
    assert leaf.serial_number == 300 and leaf.issuer == root.subject and not list(leaf.subject)
    check_extensions(
        leaf, [(KEY_USAGE, True), (EKU, False), (BASIC, True), (SKI, False), (AKI, False), (SAN, True)]
    )
    check_usage(leaf, LEAF_USAGE)
    assert list(value(leaf, EKU)) == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert value(leaf, BASIC) == x509.BasicConstraints(ca=False, path_length=None)
    check_key_ids(leaf, root)
    assert list(value(leaf, SAN)) == [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.UniformResourceIdentifier(LEAF_URI),
    ]
    check_dates(leaf, profiles.now - 60, 72 * HOUR)
    assert isinstance(leaf.signature_hash_algorithm, other_hash(kind))
    # A subject makes the names non-critical, and nothing else changes.
    named = profiles.certificate(kind, "named.pem")
    check_extensions(
        named, [(KEY_USAGE, True), (EKU, False), (BASIC, True), (SKI, False), (AKI, False), (SAN, False)]
    )
    (attribute,) = list(named.subject)
    assert attribute.value == "web.svc.default.11111111.consul"
    assert attribute._type.name == "PrintableString"


@pytest.mark.parametrize("kind", KINDS)
def test_intermediate(profiles, kind):
    root, middle = profiles.certificate(kind, "root.pem"), profiles.certificate(kind, "intermediate.pem")
    assert middle.serial_number == 9 and middle.issuer == root.subject and not list(middle.subject)
    check_extensions(middle, [(KEY_USAGE, True), (BASIC, True), (SKI, False), (AKI, False), (SAN, True)])
    check_usage(middle, CA_USAGE)
    assert value(middle, BASIC) == x509.BasicConstraints(ca=True, path_length=0)
    check_key_ids(middle, root)
    assert list(value(middle, SAN)) == [x509.UniformResourceIdentifier(TRUST_DOMAIN)]
    check_dates(middle, profiles.now - 60, YEAR)
    assert isinstance(middle.signature_hash_algorithm, other_hash(kind))
    check_key_ids(profiles.certificate(kind, "below.pem"), middle)
    # A request with a subject keeps it, and its names are not critical then.
    secondary = profiles.certificate(kind, "secondary.pem")
    check_ca_name(secondary.subject, "sec")
    check_extensions(secondary, [(KEY_USAGE, True), (BASIC, True), (SKI, False), (AKI, False), (SAN, False)])


@pytest.mark.parametrize("kind", KINDS)
def test_cross_signed(profiles, kind):
    root, other = profiles.certificate(kind, "root.pem"), profiles.certificate(kind, "other.pem")
    for name, old, new in (("cross.pem", other, root), ("cross-back.pem", root, other)):
        cross = profiles.certificate(kind, name)
        assert cross.serial_number == 10
        assert cross.subject == new.subject and cross.issuer == old.subject
        check_extensions(cross, [(KEY_USAGE, True), (BASIC, True), (SKI, False), (AKI, False), (SAN, False)])
        for oid in (KEY_USAGE, BASIC, SKI, SAN):
            assert value(cross, oid) == value(new, oid)
        check_key_ids(cross, old)
        check_dates(cross, profiles.now - 60, 7 * DAY)
        assert cross.signature_algorithm_oid == old.signature_algorithm_oid


@pytest.mark.parametrize("kind", KINDS)
def test_crl(profiles, kind):
    root = profiles.certificate(kind, "root.pem")
    full = x509.load_pem_x509_crl(profiles.read(kind, "crl.pem"))
    empty = x509.load_pem_x509_crl(profiles.read(kind, "empty.crl.pem"))
    for crl in (full, empty):
        check_crl_signature(crl, root.public_key())
        assert crl.issuer == root.subject
        assert value(crl, ExtensionOID.CRL_NUMBER).crl_number == 258
        assert value(crl, AKI).key_identifier == value(root, SKI).digest
        assert not any(e.critical for e in crl.extensions)
        assert unix(crl, "last_update") == profiles.now
        assert unix(crl, "next_update") == profiles.now + 24 * HOUR
    assert len(empty) == 0
    first, second = list(full)
    assert (first.serial_number, unix(first, "revocation_date")) == (300, profiles.now - 30)
    assert value(first, CRLEntryExtensionOID.CRL_REASON).reason == x509.ReasonFlags.key_compromise
    assert (second.serial_number, unix(second, "revocation_date")) == (255, profiles.now - 20)
    assert not list(second.extensions)


@pytest.mark.parametrize("kind", KINDS)
def test_csr(profiles, kind):
    for name, subjects, extensions in (
        ("leaf.csr.pem", 0, [(SAN, True)]),
        ("named.csr.pem", 1, [(SAN, False)]),
        ("intermediate.csr.pem", 0, [(SAN, True), (BASIC, True)]),
    ):
        csr = x509.load_pem_x509_csr(profiles.read(kind, name))
        assert csr.is_signature_valid
        assert len(list(csr.subject)) == subjects
        assert [(e.oid, e.critical) for e in csr.extensions] == extensions


@pytest.mark.parametrize("kind", KINDS)
def test_keys(profiles, kind):
    for stem in ("root", "leaf"):
        public = profiles.certificate(kind, stem + ".pem").public_key()
        encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for suffix in (".key.pem", ".pkcs8.pem"):
            private = serialization.load_pem_private_key(profiles.read(kind, stem + suffix), None)
            assert private.public_key().public_bytes(*encoding) == public.public_bytes(*encoding)
    label = {"e": b"EC PRIVATE KEY", "r": b"RSA PRIVATE KEY"}[kind[0]]
    if kind == "ed25519256":
        label = b"PRIVATE KEY"
    assert profiles.read(kind, "root.key.pem").startswith(b"-----BEGIN " + label + b"-----\n")


def openssl_verify(profiles, kind, root, leaf, *untrusted, strict=True):
    command = ["openssl", "verify", "-check_ss_sig", "-CAfile", profiles.path(kind, root)]
    if strict:
        command.append("-x509_strict")
    for name in untrusted:
        command += ["-untrusted", profiles.path(kind, name)]
    result = subprocess.run(command + [profiles.path(kind, leaf)], capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_openssl(profiles, kind):
    for arguments in (
        ("root.pem", "root.pem"),
        ("root.pem", "leaf.pem"),
        ("root.pem", "named.pem"),
        ("root.pem", "under.pem", "secondary.pem"),
        ("other.pem", "leaf.pem", "cross.pem"),
        ("root.pem", "cross-back.pem"),
    ):
        code, text = openssl_verify(profiles, kind, *arguments)
        assert code == 0, text
    # Consul's intermediates have an empty subject, which RFC 5280 forbids to CAs: accepted, but not strictly.
    code, text = openssl_verify(profiles, kind, "root.pem", "below.pem", "intermediate.pem", strict=False)
    assert code == 0, text
    code, _ = openssl_verify(profiles, kind, "other.pem", "leaf.pem")
    assert code != 0
    # The revoked leaf (serial 300) is refused once the CRL is looked at.
    result = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", profiles.path(kind, "crl.pem"),
         "-CAfile", profiles.path(kind, "root.pem"), profiles.path(kind, "leaf.pem")],
        capture_output=True, text=True, timeout=60,
    )
    assert result.returncode != 0 and "certificate revoked" in result.stdout + result.stderr
    for name in ("leaf.csr.pem", "intermediate.csr.pem"):
        result = subprocess.run(
            ["openssl", "req", "-verify", "-noout", "-in", profiles.path(kind, name)],
            capture_output=True, text=True, timeout=60,
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "expected, command",
    [
        ("ec 256", "ecparam -name prime256v1 -genkey"),  # with EC PARAMETERS in front
        ("ec 384", "ecparam -name secp384r1 -genkey -noout -conv_form compressed"),
        ("ec 521", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521"),
        ("rsa 2048", "genrsa -traditional 2048"),
        ("rsa 2048", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        ("ed25519 256", "genpkey -algorithm ED25519"),
        (None, "genrsa -traditional 1024"),
        (None, "ecparam -name prime256v1 -genkey -noout -param_enc explicit"),
        (None, "ecparam -name secp256k1 -genkey -noout"),
        (None, "genpkey -algorithm ED25519 -aes256 -pass pass:secret"),
    ],
)
def test_keys_of_openssl(tmp_path, expected, command):
    path = tmp_path / "key.pem"
    path.write_bytes(subprocess.run(["openssl"] + command.split(), capture_output=True, check=True).stdout)
    result = subprocess.run([BIN / "make_profiles", "--key-id", path], capture_output=True, text=True, timeout=60)
    if expected is None:
        assert result.returncode == 1
        assert "private key" in result.stderr or "public key" in result.stderr, result.stderr
        return
    assert result.returncode == 0, result.stderr
    public = serialization.load_pem_private_key(path.read_bytes(), None).public_key()
    point = {"format": serialization.PublicFormat.SubjectPublicKeyInfo, "encoding": serialization.Encoding.DER}
    digest = hashlib.sha256(public.public_bytes(**point)).hexdigest()
    assert result.stdout.strip().replace(":", "") == f"{expected} {digest}"


def test_go(profiles):
    """Go's crypto/x509 is what Consul and its clients verify with."""
    result = subprocess.run(
        ["go", "run", str(TOP / "tests/integration/profiles/verify.go"), str(profiles.directory), str(profiles.now)],
        capture_output=True, text=True, timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
