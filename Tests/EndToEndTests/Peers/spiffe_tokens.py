# SPDX-License-Identifier: Apache-2.0
"""A program that uses py-spiffe's JwtSource: spiffe_tokens.py TOKENS AUTHORITIES.

It asks for its token until it got TOKENS different ones, signed by AUTHORITIES keys. Each has to be
good at the moment it comes: by the keys that the source holds, and by what the agent says.
"""
import sys
import time

import jwt
from spiffe import JwtSource, WorkloadApiClient
from spiffe.svid.jwt_svid import JwtSvid

import workload_api as api


def check(source, client, svid):
    """The ID of the key that signed a token, once it is found good."""
    bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    again = JwtSvid.parse_and_validate(svid.token, bundle, {"api"})
    assert str(again.spiffe_id) == str(svid.spiffe_id)
    assert client.validate_jwt_svid(svid.token, "api").token == svid.token
    assert svid.expiry > time.time(), "not valid now"
    return jwt.get_unverified_header(svid.token)["kid"]


def main(tokens, authorities):
    seen, keys, last = [], [], None
    with JwtSource(timeout_in_seconds=api.PATIENCE) as source, WorkloadApiClient() as client:
        end = time.monotonic() + 170
        while len(seen) < tokens or len(keys) < authorities:
            assert time.monotonic() < end, "tokens: %d, keys: %d" % (len(seen), len(keys))
            svid = source.fetch_svid({"api"})
            key = check(source, client, svid)
            if svid.token not in seen:
                seen.append(svid.token)
                api.say("token %d of %s" % (len(seen), svid.spiffe_id))
            if key not in keys:
                keys.append(key)
            if last is not None and last.expiry > time.time() + 1:
                # What was good stays good until it ends, whatever rotated since.
                check(source, client, last)
            last = svid
            time.sleep(0.2)  # the pace of a client, nothing is waited for
    api.say("%d tokens by %d keys" % (len(seen), len(keys)))


main(int(sys.argv[1]), int(sys.argv[2]))
