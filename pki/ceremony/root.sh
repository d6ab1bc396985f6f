#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: pki/ceremony/root.sh TRUST-DOMAIN KEY OUT PASSPHRASE-FILE
# Makes an offline root as pki/profiles/upstream-root.json says: a P-384 key, encrypted, and its
# certificate for ten years. `signet pki root` does the same.
set -euo pipefail
umask 077
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
[ $# -eq 4 ] || fail "usage: root.sh TRUST-DOMAIN KEY OUT PASSPHRASE-FILE"
domain=$1 key=$2 out=$3 passphrase=$4
require_new "$key"
require_new "$out"

public=$(mktemp)
made=
# Of a try that failed nothing is left that the next one would find.
trap 'rm -f "$public"; [ -n "$made" ] || rm -f "$key" "$out"' EXIT
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -aes256 -pass "file:$passphrase" \
    -out "$key"
openssl pkey -in "$key" -passin "file:$passphrase" -pubout -out "$public"
id=$(key_id "$public")
SIGNET_KEY_ID=$id SIGNET_TRUST_DOMAIN=$domain openssl req -new -x509 -sha384 -key "$key" \
    -passin "file:$passphrase" -days 3650 -set_serial "$(new_serial)" -utf8 \
    -subj "/O=Signet/CN=${domain:0:64}/serialNumber=root-$(openssl rand -hex 8)" \
    -config "$here/ceremony.cnf" -extensions root -out "$out"
chmod 644 "$out"
made=yes
echo "root: $out"
echo "key ID: $id"
