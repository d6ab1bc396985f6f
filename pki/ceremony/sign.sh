#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: pki/ceremony/sign.sh ROOT KEY REQUEST KEY-ID OUT PASSPHRASE-FILE [--name-constraints]
# Certifies the key of a server's request as pki/profiles/intermediate.json says, for a year, if its
# key ID is the one that the server printed. `signet pki sign` does the same.
set -euo pipefail
umask 077
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
[ $# -eq 6 ] || [ $# -eq 7 ] ||
    fail "usage: sign.sh ROOT KEY REQUEST KEY-ID OUT PASSPHRASE-FILE [--name-constraints]"
root=$1 key=$2 request=$3 wanted=$4 out=$5 passphrase=$6
section=intermediate
if [ $# -eq 7 ]; then
    [ "$7" = --name-constraints ] || fail "$7: the only option is --name-constraints"
    section=constrained
fi
require_new "$out"
for file in "$root" "$key" "$request" "$passphrase"; do
    [ -r "$file" ] || fail "$file cannot be read"
done
# What an early signet pki root wrote; now it writes what root.sh does.
[ "$(head -c 7 "$key" | tr -d '\0')" != SGNTKEY ] || fail "only signet pki sign reads $key"

# Who sent it proves that the key is his; openssl says so in words alone.
openssl req -in "$request" -noout -verify 2>&1 | grep -q 'verify OK$' ||
    fail "$request is not signed with its key"
public=$(mktemp)
errors=$(mktemp)
trap 'rm -f "$public" "$errors"' EXIT
openssl req -in "$request" -noout -pubkey >"$public"
id=$(key_id "$public")
[ "$id" = "$(echo "$wanted" | tr A-F a-f)" ] ||
    fail "the request is for key $id, not for $wanted: it was exchanged on its way, or is another"
domain=$(openssl x509 -in "$root" -noout -ext subjectAltName |
    sed -n 's/^ *URI:spiffe:\/\/\([^/, ]*\)$/\1/p')
[ -n "$domain" ] || fail "the one URI of $root is no trust domain"
if [ $section = constrained ]; then
    # RFC 5280 section 4.2.1.10: a host with a dot, and no address.
    echo "$domain" | grep -Eq '^[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z0-9-]*[a-z-][a-z0-9-]*$' ||
        fail "no name constraint can stand for $domain"
fi
# Of the request only the key is taken.
SIGNET_KEY_ID=$id SIGNET_TRUST_DOMAIN=$domain openssl x509 -req -in "$request" -CA "$root" \
    -CAkey "$key" -passin "file:$passphrase" -sha384 -days 365 -set_serial "$(new_serial)" \
    -subj "/O=Signet/CN=${domain:0:64}/serialNumber=upstream-$(openssl rand -hex 8)" \
    -extfile "$here/ceremony.cnf" -extensions "$section" -out "$out" 2>"$errors" || {
    cat "$errors" >&2
    rm -f "$out"
    fail "openssl certifies nothing: is $key the key of $root, and that its passphrase?"
}
chmod 644 "$out"
echo "certificate: $out"
echo "key ID: $id"
