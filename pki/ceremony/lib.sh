# SPDX-License-Identifier: Apache-2.0
# What the ceremony's scripts share; pki/README.md has the steps.

fail() {
    echo "$(basename "$0"): $1" >&2
    exit 1
}

# No key or certificate of a ceremony is overwritten.
require_new() {
    [ ! -e "$1" ] || fail "$1 is there already; name another file"
}

# The key ID of a public key in PEM: 160 bits of SHA-256 of its bit string (RFC 7093 section 2,
# method 1), as signet-server prints it.
key_id() {
    local der place
    der=$(mktemp)
    openssl pkey -pubin -in "$1" -outform DER -out "$der"
    # "   20:d=1  hl=2 l=  66 prim: BIT STRING": offset and length of the header; then comes the count
    # of unused bits.
    place=$(openssl asn1parse -inform DER -in "$der" |
        sed -n 's/^ *\([0-9]*\):d=1 *hl=\([0-9]*\) .*BIT STRING.*$/\1 + \2 + 2/p')
    tail -c "+$((place))" "$der" | openssl dgst -sha256 -r | cut -c 1-40
    rm -f "$der"
}

# A serial number as Signet makes them: always 17 bytes, always positive.
new_serial() {
    echo "0x01$(openssl rand -hex 16)"
}
