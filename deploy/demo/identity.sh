#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo of Signet, part one: identities. `make demo` runs it; it needs no root, takes about half
# a minute, leaves nothing behind, and ends with status 0 only if every step was true.

set -euo pipefail
programs="signet signet-server signet-agent"
source "$(dirname "$0")/common.sh"

step "Start a server and an agent; that needs no root"
start_dev

step "Register two programs by the SHA-256 of their executable"
make_program web w
make_program db d
make_program intruder i
make_program batch b
{
    entry web "\"unix:uid:$uid\", \"unix:sha256:$(sha256 "$place/web")\""
    entry db "\"unix:uid:$uid\", \"unix:sha256:$(sha256 "$place/db")\""
    if [ "$uid" -eq 0 ]; then entry batch "\"unix:uid:$other_uid\""; fi
} >"$place/entries.yaml"
sed -n 's/^/     /; 2,9p' "$place/entries.yaml" | cut -c 1-100
show "signet apply -f entries.yaml --wait"
"$signet" apply -f "$place/entries.yaml" --wait 2>&1 | indent
passed "the agent has applied it"

step "Each program asks the agent who it is; nothing is configured in the program"
fetch() { # program, identity
    show "$1 svid fetch"
    "$place/$1" svid fetch --write-dir "$place/files-$1" >"$place/$1.out" 2>&1 \
        || { cat "$place/$1.out" >&2; failed "$1 got no identity"; }
    indent <"$place/$1.out"
    grep -q "^$2 " "$place/$1.out" || failed "$1 is not $2"
}
fetch web "spiffe://$trust_domain/demo/web"
fetch db "spiffe://$trust_domain/demo/db"
if command -v openssl >/dev/null; then
    for program in web db; do
        openssl verify -CAfile "$place/files-$program/bundle.pem" \
            "$place/files-$program/svid.pem" >/dev/null || failed "OpenSSL refuses $program's chain"
    done
    passed "two programs, two identities; OpenSSL accepts both chains"
else
    passed "two programs, two identities"
fi
if [ "$uid" -eq 0 ]; then
    show "setpriv --reuid=$other_uid batch svid fetch"
    as_other "$place/batch" svid fetch \
        >"$place/batch.out" 2>&1 || { cat "$place/batch.out" >&2; failed "batch got no identity"; }
    indent <"$place/batch.out"
    grep -q "^spiffe://$trust_domain/demo/batch " "$place/batch.out" || failed "batch is not batch"
    passed "as root: a third one, known by its uid"
fi

step "A program that is not registered is refused, and its admin learns why"
show "intruder svid fetch"
if "$place/intruder" svid fetch >"$place/intruder.out" 2>&1; then failed "it got an identity"; fi
indent <"$place/intruder.out"
grep -q 'PermissionDenied' "$place/intruder.out" || failed "it was not refused, but failed"
"$place/intruder" svid watch >"$place/intruder.watch" 2>&1 &
intruder=$!
children+=("$intruder")
show "signet explain workload --pid $intruder"
"$signet" explain workload --pid "$intruder" >"$place/explain.out" 2>&1 || {
    cat "$place/explain.out" >&2; failed "there is no explanation"; }
cut -c 1-100 "$place/explain.out" | indent
kill "$intruder"
grep -q 'it gets no identity' "$place/explain.out" || failed "the explanation gives it an identity"
grep -Eq 'nearest miss: entry .*/(web|db) ' "$place/explain.out" || failed "no nearest miss named"
grep -q "LACKS .*unix:sha256:" "$place/explain.out" || failed "the missing selector is not named"
passed "the nearest miss lacks only the right SHA-256"

step "Identities live $ttl here and are renewed at half life, before your eyes"
show "web svid watch"
exec 3< <(exec timeout "$patience" "$place/web" svid watch 2>&1)
watch=$!
children+=("$watch")
serials=()
while [ "${#serials[@]}" -lt 3 ] && IFS= read -r -t "$patience" line <&3; do
    printf '%s\n' "$line" | indent
    serial=$(sed -n 's/.* serial \([0-9a-f]*\) .*/\1/p' <<<"$line")
    if [ -n "$serial" ]; then serials+=("$serial"); fi
done
exec 3<&-
kill "$watch" 2>/dev/null || true
[ "$(printf '%s\n' "${serials[@]}" | sort -u | wc -l)" -eq 3 ] || failed "it was not renewed twice"
passed "three certificates, one program, no restart"

step "Everything is in the audit log, which proves itself"
show "signet audit query --spiffe-id spiffe://$trust_domain/demo/web --limit 4"
"$signet" audit query --spiffe-id "spiffe://$trust_domain/demo/web" --limit 4 >"$place/query.out"
cut -c 1-110 "$place/query.out" | indent
[ "$(grep -c svidsIssued "$place/query.out")" -ge 3 ] || failed "issued SVIDs are not in the log"
verify_log
passed "every record is under the signed root"

step "One byte is changed in a copy of the log, and found without the server"
show "signet audit export --dir copy"
"$signet" audit export --dir "$place/copy" 2>/dev/null | indent
key=$(cat "$place/copy/verifier.key")
"$signet" audit verify --dir "$place/copy" --key "$key" >/dev/null || failed "the copy is not intact"
# The oldest record that names web, and where its name stands among the records.
record=$("$signet" audit query --spiffe-id "spiffe://$trust_domain/demo/web" --limit 1000 -o json |
    grep -o '^\[*{"index":[0-9]*' | tail -1 | grep -o '[0-9]*$')
records=$(find "$place/copy/tile/entries" -type f | sort | tail -1)
offset=$(grep -obUa 'demo/web' "$records" | head -1 | cut -d : -f 1)
printf 'W' | dd of="$records" bs=1 seek=$((offset + 5)) conv=notrunc status=none
say "byte $((offset + 5)) of ${records#"$place/"} is now W: demo/web has become demo/Web"
show "signet audit verify --dir copy --key ..."
status=0
"$signet" audit verify --dir "$place/copy" --key "$key" >"$place/tampered.out" 2>&1 || status=$?
head -1 "$place/tampered.out" | cut -c 1-110 | indent
[ "$status" -eq 4 ] || failed "the change was not found (status $status)"
grep -q "record $record " "$place/tampered.out" || failed "it is not record $record that was named"
passed "record $record is named"

printf '\n%sAll %d steps passed:%s identities fetched, one refused and explained, renewed twice,\n' \
    "$green$bold" "$step_number" "$plain"
printf 'audited, proved, and a forged byte found.\n\n'
cat <<NEXT
Next:
  ${bin#"$PWD/"}/signet dev            your own server and agent below .signet
  ${bin#"$PWD/"}/signet --help         all commands
  docs/operations.md              how to run it for real
NEXT
