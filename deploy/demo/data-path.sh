#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo of Signet, part two: two services that talk through their proxies. `make demo` runs it
# after part one; it needs no root, takes about half a minute, leaves nothing behind, and ends with
# status 0 only if every step was true.

set -euo pipefail
programs="signet signet-server signet-agent signet-proxy"
source "$(dirname "$0")/common.sh"
python=$(command -v python3) || { echo "python3 is missing; run: make setup" >&2; exit 1; }
command -v curl >/dev/null || { echo "curl is missing; run: make setup" >&2; exit 1; }

readonly identity=spiffe://$trust_domain/demo
socket=$place/backend.sock
reports_socket=$place/reports.sock

# Waits until a command is true: eventually WHAT COMMAND...
eventually() {
    local what=$1 end=$((SECONDS + patience)); shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || failed "waited $patience s for $what"
        sleep 0.1
    done
}

# Asks through a socket; the status is in $answered, the answer in $place/answer.
ask() {
    show "curl --unix-socket ${1#"$place/"} http://backend/hello"
    ask_quietly "$1"
    { cat "$place/answer"; printf '(status %s)\n' "$answered"; } | cut -c 1-150 | indent
}
ask_quietly() {
    : >"$place/answer"
    answered=$(curl -sS --max-time 5 --unix-socket "$1" -o "$place/answer" -w '%{http_code}' \
        http://backend/hello 2>"$place/curl.err") || true
}
answers() { ask_quietly "$1"; [ "$answered" = 200 ]; }

# A key of a line of JSON that load.py wrote.
value() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

# Starts load.py in the background and waits for its first answer: load NAME ARGUMENTS...
load() {
    local name=$1; shift
    "$python" deploy/demo/load.py "$@" >"$place/$name.out" 2>"$place/$name.err" &
    loader=$!
    children+=("$loader")
    eventually "the first answer to $name" grep -q running "$place/$name.out"
}
# Ends it; what it counted is in $place/NAME.json.
end_load() { # name, pid
    kill -TERM "$2"
    wait "$2" || true
    tail -1 "$place/$1.out" >"$place/$1.json"
}

step "Start a server and an agent; that needs no root"
start_dev

step "Start a backend that knows nothing of all this"
read -r backend_port inbound_port < <("$python" - <<'PORTS'
import socket
held = [socket.socket() for _ in range(2)]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PORTS
)
if command -v nginx >/dev/null; then
    backend_program=$(readlink -f "$(command -v nginx)")
    mkdir "$place/nginx"
    cat >"$place/nginx/nginx.conf" <<CONFIGURATION
daemon off;
pid $place/nginx/pid;
error_log $place/nginx/error.log;
events {}
http {
    access_log $place/nginx/access.log;
    client_body_temp_path $place/nginx/body;
    proxy_temp_path $place/nginx/proxy;
    fastcgi_temp_path $place/nginx/fastcgi;
    uwsgi_temp_path $place/nginx/uwsgi;
    scgi_temp_path $place/nginx/scgi;
    server {
        listen 127.0.0.1:$backend_port;
        location / {
            return 200 "hello from the backend; the proxy says of you: \$http_x_forwarded_client_cert\n";
        }
    }
}
CONFIGURATION
    nginx -c "$place/nginx/nginx.conf" -e "$place/nginx/error.log" >"$place/backend.log" 2>&1 &
else
    backend_program=$(readlink -f "$("$python" -c 'import sys; print(sys.executable)')")
    "$python" deploy/demo/backend.py "$backend_port" >"$place/backend.log" 2>&1 &
fi
children+=("$!")
backend_answers() { curl -s --max-time 1 -o /dev/null "http://127.0.0.1:$backend_port/"; }
eventually "the backend to listen" backend_answers
passed "${backend_program##*/} listens on 127.0.0.1:$backend_port"

step "Say who is who, which proxies there are, and who may do what"
make_program frontend f
make_program reports r
proxy_selectors="[\"unix:uid:$uid\", \"unix:sha256:$(sha256 "$bin/signet-proxy")\"]"
policy() { # principals that may read
    cat <<DOCUMENT
apiVersion: core.signet/v1alpha1
kind: AccessPolicy
metadata: {name: backend-readers}
spec:
  target: {services: [backend]}
  action: ALLOW
  rules:
    - from: [{source: {principals: [$1]}}]
      to: [{operation: {methods: [GET], paths: ["/hello"]}}]
  tests:
    - {request: {principal: "$identity/frontend", method: GET, path: /hello}, expect: ALLOW}
    - {request: {principal: "$identity/frontend", method: POST, path: /hello}, expect: DENY}
DOCUMENT
}
{
    entry frontend "\"unix:uid:$uid\", \"unix:sha256:$(sha256 "$place/frontend")\""
    entry reports "\"unix:uid:$uid\", \"unix:sha256:$(sha256 "$place/reports")\""
    entry backend "\"unix:uid:$uid\", \"unix:sha256:$(sha256 "$backend_program")\""
    cat <<DOCUMENTS
apiVersion: core.signet/v1alpha1
kind: Service
metadata: {name: backend}
spec:
  ports: [{name: http, number: 80, protocol: http}]
  identities: [$identity/backend]
  endpoints: [{address: 127.0.0.1:$inbound_port}]
---
apiVersion: core.signet/v1alpha1
kind: Proxy
metadata: {name: frontend}
spec:
  mode: sidecar
  nodeSelectors: ["agent:dev"]
  selectors: $proxy_selectors
  identities: [$identity/frontend, $identity/reports]
  outbound:
    - {name: backend, identity: $identity/frontend, service: backend, port: http,
       unix: $socket, allow: {uids: [$uid]}}
    - {name: reports, identity: $identity/reports, service: backend, port: http,
       unix: $reports_socket, allow: {uids: [$uid]}}
---
apiVersion: core.signet/v1alpha1
kind: Proxy
metadata: {name: backend}
spec:
  mode: sidecar
  nodeSelectors: ["agent:dev"]
  selectors: $proxy_selectors
  identities: [$identity/backend]
  inbound:
    - name: http
      address: 127.0.0.1:$inbound_port
      identity: $identity/backend
      protocol: http
      forward: {address: 127.0.0.1:$backend_port, uids: [$uid]}
---
DOCUMENTS
    policy "$identity/frontend"
} >"$place/documents.yaml"
policy "$identity/frontend" | sed -n '3,12p' | cut -c 1-110 | indent
show "signet apply -f documents.yaml --wait"
"$signet" apply -f "$place/documents.yaml" --wait 2>&1 | indent
proxies_run() {
    "$signet" proxy list >"$place/proxies.out" 2>/dev/null \
        && [ "$(grep -c ' applied ' "$place/proxies.out")" -eq 2 ]
}
show "signet proxy list"
eventually "both proxies to apply it" proxies_run
cut -c 1-110 "$place/proxies.out" | indent
passed "signet dev has started both proxies, and they have applied it"

step "The frontend asks the backend: plain HTTP on this side and that, mutual TLS between"
eventually "the first answer" answers "$socket"
ask "$socket"
[ "$answered" = 200 ] || failed "status $answered ($(cat "$place/curl.err"))"
grep -q "$identity/frontend" "$place/answer" || failed "the backend was not told who asks"
show "signet proxy connections backend"
"$signet" proxy connections backend -o json >"$place/connections.out"
"$signet" proxy connections backend | cut -c 1-110 | indent
grep -q "$identity/frontend" "$place/connections.out" || failed "no connection of the frontend"
passed "200, and the backend's proxy knows by certificate who asked"

step "Another identity is denied, and its admin learns why"
ask "$reports_socket"
[ "$answered" = 403 ] || failed "status $answered instead of 403"
decision=$(grep -oE '[a-z2-7]{26}' "$place/answer" | head -1)
[ -n "$decision" ] || failed "the answer holds no decision ID"
show "signet explain decision $decision"
"$signet" explain decision "$decision" >"$place/decision.out"
cut -c 1-120 "$place/decision.out" | indent
grep -q '^DENIED: GET /hello from' "$place/decision.out" || failed "it is not this request"
grep -q "$identity/reports" "$place/decision.out" || failed "it is not this peer"
grep -q 'default/backend-readers' "$place/decision.out" || failed "the policy is not named"
grep -q 'principals' "$place/decision.out" || failed "the clause is not named"
show "signet explain request --from .../reports --to .../backend --port $backend_port --method GET --path /hello"
status=0
"$signet" explain request --from "$identity/reports" --to "$identity/backend" \
    --port "$backend_port" --method GET --path /hello >"$place/request.out" || status=$?
head -1 "$place/request.out" | cut -c 1-120 | indent
[ "$status" -eq 5 ] || failed "the server decides otherwise (status $status)"
passed "403; policy and clause are named"

step "The policy is changed, and holds when the command returns"
policy "$identity/frontend, $identity/reports" >"$place/policy.yaml"
show "signet apply -f policy.yaml --wait"
"$signet" apply -f "$place/policy.yaml" --wait 2>&1 | indent
ask "$reports_socket"
[ "$answered" = 200 ] || failed "status $answered after the change"
passed "200, on connections that were open already"

step "SVIDs live $ttl here; they are renewed twice under load, and nothing breaks"
issued() { # proxy
    "$signet" audit query --event svidsIssued --limit 1000 -o json |
        grep -o "\"proxy\":\"default/$1\"" | wc -l
}
frontend_issued=$(issued frontend)
backend_issued=$(issued backend)
renewed() {
    [ "$(issued frontend)" -ge $((frontend_issued + 4)) ] \
        && [ "$(issued backend)" -ge $((backend_issued + 2)) ]
}
show "load.py --clients 4 unix backend.sock /hello"
load rotation --clients 4 unix "$socket" /hello
eventually "two renewals of each SVID" renewed
end_load rotation "$loader"
requests=$(value "$place/rotation.json" requests)
failures=$(value "$place/rotation.json" failures)
[ "$failures" -eq 0 ] || say "$failures failed: $(value "$place/rotation.json" firstFailure)"
[ "$failures" -eq 0 ] && [ "$requests" -gt 100 ] || failed "requests failed while SVIDs changed"
passed "$requests requests, none failed; both proxies hold their third certificates"

step "An identity is revoked: its proxy, and a thief who has copied its key, are cut off"
"$place/frontend" svid fetch --write-dir "$place/stolen" >/dev/null
load thief mtls "127.0.0.1:$inbound_port" "$place/stolen" /hello
thief=$loader
load honest unix "$socket" /hello
honest=$loader
say "both get their answers; now:"
show "signet svid revoke $identity/frontend --for 1m --reason 'key copied'"
before=$(date +%s.%N)
"$signet" svid revoke "$identity/frontend" --for 1m --reason "key copied" >"$place/revoke.out" \
    2>"$place/revoke.err"
cut -c 1-110 "$place/revoke.out" "$place/revoke.err" | indent
is_cut_off() { ! answers "$socket"; }
eventually "the honest one to be cut off" is_cut_off
# Who still gets an answer would get one within this second.
sleep 1
end_load thief "$thief"
end_load honest "$honest"
for client in thief honest; do
    late=$("$python" -c 'import sys; print("%.3f" % (float(sys.argv[1]) - float(sys.argv[2])))' \
        "$(value "$place/$client.json" lastSuccess)" "$before")
    say "the last answer to the $client one came $late s after the command was typed"
    [ "$(value "$place/$client.json" failures)" -gt 0 ] || failed "the $client one was not cut off"
    "$python" -c 'import sys; sys.exit(float(sys.argv[1]) >= 1)' "$late" \
        || failed "the $client one was cut off after $late s"
done
ask "$reports_socket"
[ "$answered" = 200 ] || failed "another identity of the same proxy got status $answered"
passed "both within a second; the other identity goes on"

step "Everything is in the audit log, which proves itself"
show "signet audit query --event identityRevoked --spiffe-id .../frontend"
"$signet" audit query --event identityRevoked --spiffe-id "$identity/frontend" \
    >"$place/revoked.out"
cut -c 1-110 "$place/revoked.out" | indent
grep -q "identityRevoked .*key copied" "$place/revoked.out" || failed "the revocation is not in the log"
verify_log
passed "every record is under the signed root"

printf '\n%sAll %d steps passed:%s two services over mutual TLS, one denied and explained, a policy\n' \
    "$green$bold" "$step_number" "$plain"
printf 'changed live, SVIDs rotated under load, an identity cut off in under a second, audited.\n\n'
cat <<NEXT
Next:
  ${bin#"$PWD/"}/signet dev                 your own server, agent and proxies below .signet
  ${bin#"$PWD/"}/signet proxy list -A       which proxies run, and what they have applied
  ${bin#"$PWD/"}/signet explain request -h  what policies would say
  docs/operations.md                   how to run it for real
NEXT
