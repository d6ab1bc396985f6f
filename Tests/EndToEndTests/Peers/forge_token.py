# SPDX-License-Identifier: Apache-2.0
"""Signs a token as a thief of a trust domain's key does: forge_token.py KEY TOKEN SUBJECT.

KEY is a file with the key in PKCS #8; the new token has header and claims of TOKEN, but SUBJECT.
"""
import sys

import jwt
from cryptography.hazmat.primitives import serialization


def main(key, token, subject):
    with open(key, "rb") as file:
        private = serialization.load_der_private_key(file.read(), None)
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    claims["sub"] = subject
    print(jwt.encode(claims, private, header["alg"], {"kid": header["kid"], "typ": "JWT"}))


main(*sys.argv[1:])
