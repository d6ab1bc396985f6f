// SPDX-License-Identifier: Apache-2.0

import NodeAttestation
import SPIFFE
import Testing

struct JoinTokenTests {
    static func token() throws -> JoinToken {
        try JoinToken(
            trustDomain: TrustDomain("example.org"),
            serverAddresses: ["server.example.org:8081", "[::1]:8081"],
            authorityPins: [Array(repeating: 7, count: 32)],
            secret: Array(repeating: 9, count: 32)
        )
    }

    @Test func `a token survives its text form`() throws {
        let token = try Self.token()
        #expect(try JoinToken(token.text) == token)
        #expect(token.text.hasPrefix("signet1."))
    }

    @Test func `the stored hash does not hold the secret`() throws {
        let token = try Self.token()
        #expect(token.secretHash != token.secret)
        #expect(token.secretHash == JoinToken.hash(secret: token.secret))
    }

    @Test func `any one changed character is refused or names another token`() throws {
        let token = try Self.token()
        let text = Array(token.text)
        for index in text.indices {
            var changed = text
            changed[index] = changed[index] == "A" ? "B" : "A"
            let read = try? JoinToken(String(changed))
            #expect(read != token)
        }
    }

    @Test(arguments: ["", "signet1.", "signet2.e30", "signet1.e30", "signet1.=!", "hello"])
    func `a text that is no token is refused`(text: String) {
        #expect(throws: JoinTokenError.self) { try JoinToken(text) }
    }

    @Test func `a text beyond the limit is refused before it is decoded`() {
        let text = "signet1." + String(repeating: "A", count: JoinToken.textBytesMax)
        #expect(throws: JoinTokenError.tooLong) { try JoinToken(text) }
    }

    @Test(arguments: ["host", "host:", ":80", "host:0", "host:70000", "ho st:80"])
    func `an address that is not host and port is refused`(address: String) throws {
        let domain = try TrustDomain("example.org")
        #expect(throws: JoinTokenError.address(address)) {
            try JoinToken(
                trustDomain: domain,
                serverAddresses: [address],
                authorityPins: [Array(repeating: 7, count: 32)],
                secret: Array(repeating: 9, count: 32)
            )
        }
    }

    @Test func `a short secret or pin is refused`() throws {
        let domain = try TrustDomain("example.org")
        #expect(throws: JoinTokenError.secretLength) {
            try JoinToken(
                trustDomain: domain,
                serverAddresses: ["a:1"],
                authorityPins: [Array(repeating: 7, count: 32)],
                secret: Array(repeating: 9, count: 15)
            )
        }
        #expect(throws: JoinTokenError.pinLength) {
            try JoinToken(
                trustDomain: domain,
                serverAddresses: ["a:1"],
                authorityPins: [Array(repeating: 7, count: 31)],
                secret: Array(repeating: 9, count: 16)
            )
        }
    }
}
