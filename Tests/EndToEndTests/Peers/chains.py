# SPDX-License-Identifier: Apache-2.0
"""Verifies chains with pyca/cryptography: chains.py BUNDLE CHAIN...

Each file holds PEM; a chain begins with its leaf. SPIFFE leaves are no web server certificates, so
the policy asks for what SPIFFE asks for.
"""
import datetime
import sys

from cryptography import x509
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store


def load(path):
    with open(path, "rb") as file:
        return x509.load_pem_x509_certificates(file.read())


def one_uri(policy, certificate, names):
    assert names is not None, "no subject alternative name"
    found = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert len(found) == 1 and found[0].startswith("spiffe://example.org"), found


def leaf_usage(policy, certificate, usage):
    assert usage.digital_signature and not usage.key_cert_sign and not usage.crl_sign, usage


def both_roles(policy, certificate, usage):
    roles = {x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH}
    assert set(usage) == roles, usage


def main(bundle, chains):
    authorities = load(bundle)
    assert authorities, "the bundle is empty"
    leaf = (
        ExtensionPolicy.permit_all()
        .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, one_uri)
        .require_present(x509.KeyUsage, Criticality.CRITICAL, leaf_usage)
        .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, both_roles)
        .require_present(x509.BasicConstraints, Criticality.CRITICAL, None)
        .require_present(x509.AuthorityKeyIdentifier, Criticality.NON_CRITICAL, None)
    )
    verifier = (
        PolicyBuilder()
        .store(Store(authorities))
        .time(datetime.datetime.now(datetime.timezone.utc))
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=leaf)
        .build_client_verifier()
    )
    for path in chains:
        chain = load(path)
        verified = verifier.verify(chain[0], chain[1:])
        assert verified.chain[-1] in authorities
        print(path, "verified,", len(verified.chain), "certificates")


main(sys.argv[1], sys.argv[2:])
