# SPDX-License-Identifier: Apache-2.0
#
# What the parts of the demo share: a place of its own, `signet dev`, words on the terminal. Each
# part sources it first, and has said in `programs` what it needs; it is nothing to run.
#
# SIGNET_BIN: the folder of the programs (default: .build/debug).

# Whatever should hang, it ends.
if [ -z "${SIGNET_DEMO_TIMED:-}" ]; then
    SIGNET_DEMO_TIMED=1 exec timeout --foreground --kill-after=10 180 "$0" "$@"
fi
export LC_ALL=C
cd "$(dirname "$0")/../.."
bin=${SIGNET_BIN:-$PWD/.build/debug}
readonly bin trust_domain=example.org
# Waiting for anything ends after this many seconds, so the whole is bounded in time.
readonly patience=30
# Short, so that renewal at half life can be watched.
readonly ttl=12s

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else bold='' dim='' green='' red='' plain=''; fi

step_number=0
step() { step_number=$((step_number + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step_number" "$1" "$plain"; }
say() { printf '   %s\n' "$*"; }
show() { printf '   %s$ %s%s\n' "$dim" "$*" "$plain"; }
indent() { sed 's/^/     /'; }
passed() { printf '   %s✓ %s%s\n' "$green" "$1" "$plain"; }
failed() { printf '\n%s✗ step %d: %s%s\n' "$red" "$step_number" "$1" "$plain" >&2; exit 1; }

children=()
finish() {
    status=$?
    trap - EXIT INT TERM
    for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${children[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ "$status" -eq 0 ]; then rm -rf "$place"
    else printf '%sEverything is kept below %s (logs in state/logs).%s\n' "$dim" "$place" "$plain" >&2; fi
    exit "$status"
}

for program in $programs; do
    [ -x "$bin/$program" ] || { echo "$bin/$program is missing; run: swift build" >&2; exit 1; }
done
place=$(mktemp -d "${TMPDIR:-/tmp}/signet-demo.XXXXXX")
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Other users may pass through to the socket and the programs, and see nothing.
chmod 711 "$place"
uid=$(id -u)
# A user that owns nothing; only root can act as another user.
other_uid=65534
as_other() { setpriv --reuid="$other_uid" --regid="$other_uid" --clear-groups "$@"; }
if [ "$uid" -eq 0 ] && ! as_other test -x "$place"; then
    echo "Other users cannot reach ${TMPDIR:-/tmp}, as one step needs; the demo runs below /tmp." >&2
    rmdir "$place"
    place=$(mktemp -d /tmp/signet-demo.XXXXXX)
    chmod 711 "$place"
fi

state=$place/state
signet=$bin/signet
export SPIFFE_ENDPOINT_SOCKET=unix://$state/agent/workload.sock
export SIGNET_SERVER_SOCKET=$state/server/admin.sock

# A program of its own: the command line with one byte more, so that its SHA-256 is its own.
make_program() {
    if [ ! -e "$place/base" ]; then
        cp "$signet" "$place/base"
        strip "$place/base" 2>/dev/null || true
    fi
    cp "$place/base" "$place/$1"
    printf '%s' "$2" >>"$place/$1"
    chmod 755 "$place/$1"
}
sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

# Starts `signet dev` and waits until it is ready.
start_dev() {
    show "signet dev"
    "$signet" dev --dir "$state" --trust-domain "$trust_domain" >"$place/dev.log" 2>&1 &
    dev=$!
    children+=("$dev")
    for _ in $(seq $((patience * 20))); do
        grep -q '^ready after' "$place/dev.log" && break
        kill -0 "$dev" 2>/dev/null || { cat "$place/dev.log" >&2; failed "signet dev ended"; }
        sleep 0.05
    done
    grep '^ready after' "$place/dev.log" | indent || failed "signet dev was not ready in $patience s"
    passed "running as uid $uid"
}

# A RegistrationEntry of this machine: entry NAME WORKLOAD-SELECTORS.
entry() {
    cat <<DOCUMENT
apiVersion: core.signet/v1alpha1
kind: RegistrationEntry
metadata:
  name: $1
spec:
  spiffeID: spiffe://$trust_domain/demo/$1
  nodeSelectors: ["agent:dev"]
  workloadSelectors: [$2]
  x509SVIDTTL: $ttl
---
DOCUMENT
}

# Shows that the audit log proves itself.
verify_log() {
    show "signet audit verify"
    "$signet" audit verify >"$place/verify.out" 2>/dev/null || failed "the log does not verify"
    cut -c 1-110 "$place/verify.out" | indent
    grep -Eq '^intact: [0-9]+ records' "$place/verify.out" || failed "verify did not say intact"
}
