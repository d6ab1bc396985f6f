#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: pki/dev.sh DIRECTORY [TRUST-DOMAIN]
# Makes a throw-away root and an upstream authority below it in a new DIRECTORY, for trying out chains
# with OpenSSL and other verifiers. The passphrase lies beside the keys: no key of it is for anything
# that counts.
set -euo pipefail
umask 077
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || [ $# -eq 2 ] || { echo "usage: pki/dev.sh DIRECTORY [TRUST-DOMAIN]" >&2; exit 1; }
directory=$1 domain=${2:-example.org}
[ ! -e "$directory" ] || { echo "$directory is there already" >&2; exit 1; }
mkdir -p "$directory"
cd "$directory"
openssl rand -hex 16 >passphrase
"$here/ceremony/root.sh" "$domain" root.key root.pem passphrase
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out upstream.key
SIGNET_KEY_ID=none SIGNET_TRUST_DOMAIN=none openssl req -new -key upstream.key \
    -config "$here/ceremony/ceremony.cnf" -subj "/O=Signet" \
    -out upstream.csr
. "$here/ceremony/lib.sh"
openssl req -in upstream.csr -noout -pubkey >upstream.pub
"$here/ceremony/sign.sh" root.pem root.key upstream.csr "$(key_id upstream.pub)" upstream.pem \
    passphrase
openssl verify -CAfile root.pem upstream.pem
