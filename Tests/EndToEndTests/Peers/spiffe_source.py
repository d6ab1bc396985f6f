# SPDX-License-Identifier: Apache-2.0
"""A program that uses py-spiffe's X509Source: spiffe_source.py UPDATES AUTHORITIES.

It follows its identity until it was rotated UPDATES times and AUTHORITIES authorities have signed
it. At every moment it demands an identity that is valid now and leads to the bundle it holds.
"""
import datetime
import queue
import sys
import time

from cryptography import x509
from spiffe import X509Source

import workload_api as api


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def check(source):
    """The serial number of the identity, once it is found good."""
    svid = source.svid
    leaf = svid.leaf
    assert leaf.not_valid_before_utc <= now() < leaf.not_valid_after_utc, "not valid now"
    bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    last = svid.cert_chain[-1]
    signers = [a for a in bundle.x509_authorities if a.subject == last.issuer]
    assert signers, "the bundle has no authority of that name"
    last.verify_directly_issued_by(signers[0])
    return leaf.serial_number, signers[0].serial_number


def main(updates, authorities):
    told = queue.Queue()
    serials, signers = [], []
    with X509Source(timeout_in_seconds=api.PATIENCE) as source:
        source.subscribe_for_updates(lambda: told.put(None))
        api.say("identity " + str(source.svid.spiffe_id))
        end = time.monotonic() + 170
        while len(serials) <= updates or len(signers) < authorities:
            assert time.monotonic() < end, "rotations: %d" % len(serials)
            serial, signer = check(source)
            if serial not in serials:
                serials.append(serial)
                api.say("rotated %d" % (len(serials) - 1))
            if signer not in signers:
                signers.append(signer)
            try:
                told.get(timeout=0.2)
            except queue.Empty:
                pass
    api.say("rotated %d times by %d authorities" % (len(serials) - 1, len(signers)))


main(int(sys.argv[1]), int(sys.argv[2]))
