// SPDX-License-Identifier: Apache-2.0

/// Who is at the other end of a connection, as `x-forwarded-client-cert` tells it to the server
/// behind the proxy; made once per connection.
///
/// One element of Envoy's form: pairs joined by `;`, a value with `,`, `;`, `=` or a quotation mark
/// in quotation marks, inside which a quotation mark has a backslash before it. Keys are in Envoy's
/// order, `By;Hash;URI`.
package struct ForwardedClientCert: Hashable, Sendable {
    /// The value of the field.
    package let value: [UInt8]
    /// The whole line with its end.
    let line: [UInt8]

    /// Makes the element of a verified peer; nil if an ID holds control characters, a backslash,
    /// which programs read in two ways, or what is not ASCII; no SPIFFE ID does.
    ///
    /// - Parameters:
    ///   - receiver: The SPIFFE ID that the peer was talking to.
    ///   - hash: SHA-256 of the peer's certificate in DER.
    ///   - peer: The peer's SPIFFE ID.
    package init?(by receiver: String, hash: some Collection<UInt8>, uri peer: String) {
        var value: [UInt8] = []
        guard Self.append("By=", receiver, to: &value) else { return nil }
        value += ";Hash=".utf8
        for byte in hash {
            for digit in [byte >> 4, byte & 15] {
                value.append(digit < 10 ? 0x30 + digit : 0x61 - 10 + digit)
            }
        }
        guard Self.append(";URI=", peer, to: &value) else { return nil }
        self.value = value
        line = Array("x-forwarded-client-cert: ".utf8) + value + Array("\r\n".utf8)
    }

    private static func append(_ key: String, _ text: String, to value: inout [UInt8]) -> Bool {
        value += key.utf8
        let bytes = Array(text.utf8)
        guard bytes.allSatisfy({ (0x20..<0x7F).contains($0) && $0 != UInt8(ascii: "\\") }) else {
            return false
        }
        guard bytes.contains(where: isSpecial) else {
            value += bytes
            return true
        }
        value.append(UInt8(ascii: "\""))
        for byte in bytes {
            if byte == UInt8(ascii: "\"") { value.append(UInt8(ascii: "\\")) }
            value.append(byte)
        }
        value.append(UInt8(ascii: "\""))
        return true
    }

    private static func isSpecial(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "="), UInt8(ascii: "\""): true
        default: false
        }
    }
}
