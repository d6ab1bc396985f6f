// SPDX-License-Identifier: Apache-2.0

import TestPrograms

/// What an agent answers on its socket for tokens to a form, with the fields that it needs.
func tokenAnswer(
    _ form: [(name: String, value: String)],
    to path: String,
    at socket: String
) async throws -> String {
    try await UnixClient.answer(to: tokenRequest(form, to: path), at: socket)
}

/// The bytes of a request with a form, and the fields that it needs.
func tokenRequest(_ form: [(name: String, value: String)], to path: String) -> String {
    let body = form.map { "\($0.name)=\(escaped($0.value))" }.joined(separator: "&")
    let head = [
        "POST \(path) HTTP/1.1", "Host: agent", "Signet-Workload: true",
        "Content-Type: application/x-www-form-urlencoded", "Content-Length: \(body.utf8.count)",
        "", "",
    ]
    return head.joined(separator: "\r\n") + body
}

/// Everything but letters, digits and full stops as three bytes.
private func escaped(_ text: String) -> String {
    text.utf8.map { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."):
            return String(UnicodeScalar(byte))
        default:
            let digits = String(byte, radix: 16, uppercase: true)
            return "%" + (digits.utf8.count == 1 ? "0" : "") + digits
        }
    }.joined()
}
