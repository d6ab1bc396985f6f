# SPDX-License-Identifier: Apache-2.0
"""Verifies a token as those do who know an issuer's URL only:
discovery.py URL CA SUBJECT AUDIENCE TOKEN.

CA and TOKEN are files. Discovery and keys are fetched over TLS, and two JOSE libraries,
which know nothing of each other, verify it with them.
"""
import json
import ssl
import sys
import urllib.error
import urllib.request

import jwt
from joserfc import errors
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet


def fetch(url, context, headers=None):
    request = urllib.request.Request(url, headers=headers or {})
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return answer.read(), answer.headers


def by_pyjwt(token, document, context, audience):
    """PyJWKClient takes keys of use sig, by kid."""
    client = jwt.PyJWKClient(document["jwks_uri"], ssl_context=context)
    key = client.get_signing_key_from_jwt(token)
    return jwt.decode(
        token,
        key,
        algorithms=document["id_token_signing_alg_values_supported"],
        audience=audience,
        issuer=document["issuer"],
        options={"require": ["exp", "iat", "sub", "aud", "iss"]},
    )


def by_joserfc(token, document, keys, audience):
    algorithms = document["id_token_signing_alg_values_supported"]
    verified = joserfc_jwt.decode(token, KeySet.import_key_set(keys), algorithms=algorithms)
    joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": document["issuer"]},
        aud={"essential": True, "value": audience},
        sub={"essential": True},
        exp={"essential": True},
    ).validate(verified.claims)
    return verified.claims


def refuses(verify, expected):
    try:
        verify()
    except expected:
        return
    raise AssertionError("a token for somebody else was taken")


def main():
    url, authority, subject, audience, file = sys.argv[1:6]
    with open(file) as text:
        token = text.read().strip()
    context = ssl.create_default_context(cafile=authority)
    body, headers = fetch(url + "/.well-known/openid-configuration", context)
    document = json.loads(body)
    # Discovery 4.3: exactly the URL that was asked.
    assert document["issuer"] == url, document
    assert "RS256" in document["id_token_signing_alg_values_supported"], document
    assert headers["content-type"] == "application/json", headers
    body, headers = fetch(document["jwks_uri"], context)
    keys = json.loads(body)
    assert all(key["use"] == "sig" and key["kid"] and "d" not in key for key in keys["keys"]), keys
    try:
        fetch(document["jwks_uri"], context, {"If-None-Match": headers["etag"]})
        raise AssertionError("an equal tag was answered in full")
    except urllib.error.HTTPError as error:
        assert error.code == 304, error
    claims = by_pyjwt(token, document, context, audience)
    assert claims["sub"] == subject, claims
    claims = by_joserfc(token, document, keys, audience)
    assert claims["sub"] == subject, claims
    refuses(lambda: by_pyjwt(token, document, context, "other"), jwt.InvalidAudienceError)
    refuses(lambda: by_joserfc(token, document, keys, "other"), errors.JoseError)
    print("verified by PyJWT and joserfc:", jwt.get_unverified_header(token)["alg"])


main()
