# SPDX-License-Identifier: Apache-2.0
"""Is C, whom B shows a token "A, through B": delegation.py URL CA SUBJECT ACTOR AUDIENCE TOKEN OTHER.

CA, TOKEN and OTHER are files; OTHER has a JWT-SVID of A. Keys are found by the issuer's own discovery
document, and two JOSE libraries verify the token with them. Set up for JWT-SVIDs, both refuse it, and
so does a library of SPIFFE, even if the token did not say what type it is.
"""
import base64
import json
import ssl
import sys
import urllib.request

import jwt
from joserfc import errors
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from spiffe.spiffe_id.spiffe_id import SpiffeIdError
from spiffe.svid.errors import JwtSvidError
from spiffe.svid.jwt_svid import JwtSvid

ALGORITHMS = ["ES256"]


def fetch(url, context):
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        return json.loads(answer.read())


def by_pyjwt(token, issuer, jwks_uri, context, audience):
    key = jwt.PyJWKClient(jwks_uri, ssl_context=context).get_signing_key_from_jwt(token)
    return jwt.decode(token, key, algorithms=ALGORITHMS, audience=audience, issuer=issuer)


def by_joserfc(token, issuer, keys, audience):
    verified = joserfc_jwt.decode(token, KeySet.import_key_set(keys), algorithms=ALGORITHMS)
    joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
    ).validate(verified.claims)
    return verified.claims


def admits(token, claims, subject, actor):
    """What docs/delegation.md has verifiers compare beside issuer, audience and end."""
    return (jwt.get_unverified_header(token)["typ"] == "at+jwt"
            and claims["sub"] == subject and claims["act"]["sub"] == actor)


def refuses(verify, expected):
    try:
        verify()
    except expected:
        return
    raise AssertionError("a token that is none of those it is set up for was taken")


def without_type(token):
    """The token with a header that does not say what it is; who checks signatures knows."""
    header, rest = token.split(".", 1)
    members = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    del members["typ"]
    text = base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")
    return text + "." + rest


def main():
    url, authority, subject, actor, audience = sys.argv[1:6]
    token, other = (open(file).read().strip() for file in sys.argv[6:8])
    context = ssl.create_default_context(cafile=authority)
    issuer = url + "/delegated"
    document = fetch(issuer + "/.well-known/openid-configuration", context)
    # Discovery 4.3: exactly the URL that was asked.
    assert document["issuer"] == issuer, document
    jwks_uri = document["jwks_uri"]
    keys = fetch(jwks_uri, context)
    for claims in (by_pyjwt(token, issuer, jwks_uri, context, audience),
                   by_joserfc(token, issuer, keys, audience)):
        assert admits(token, claims, subject, actor), claims
        assert claims["client_id"] == actor, claims
    # Set up for JWT-SVIDs, by the name that these have.
    refuses(lambda: by_pyjwt(token, url, jwks_uri, context, audience), jwt.InvalidIssuerError)
    refuses(lambda: by_joserfc(token, url, keys, audience), errors.JoseError)
    # The token that it was made from, at C.
    refuses(lambda: by_pyjwt(other, issuer, jwks_uri, context, actor), jwt.InvalidIssuerError)
    refuses(lambda: by_joserfc(other, issuer, keys, actor), errors.JoseError)
    for one in (token, without_type(token)):
        refuses(lambda: JwtSvid.parse_insecure(one, {audience}), (JwtSvidError, SpiffeIdError))
    JwtSvid.parse_insecure(other, {actor})
    print("A, through B, by PyJWT and joserfc")


main()
