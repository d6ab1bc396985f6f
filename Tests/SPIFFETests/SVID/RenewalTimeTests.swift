// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import SPIFFE
import TestPKI
import TestSeeds
import Testing

@Suite struct RenewalTimeTests {
    @Test(arguments: [UInt64(1), 2, 3])
    func `renewal lies about half of the life and is spread`(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var offsets: [Double] = []
        for _ in 0..<1000 {
            let renewal = renewalTime(
                issuedAt: testNow,
                notAfter: testNow.addingTimeInterval(3600),
                jitter: &random
            )
            offsets.append(renewal.timeIntervalSince(testNow))
        }
        #expect(offsets.allSatisfy { (1620...1980).contains($0) })
        #expect((offsets.min() ?? 0) < 1640)
        #expect((offsets.max() ?? 0) > 1960)
    }

    @Test func `a certificate without life is renewed at once`() {
        var random = SeededGenerator(seed: 1)
        let renewal = renewalTime(
            issuedAt: testNow,
            notAfter: testNow.addingTimeInterval(-10),
            jitter: &random
        )
        #expect(renewal == testNow)
    }
}

@Suite struct X509SVIDTests {
    @Test func `no description of an SVID shows its private key`() throws {
        let svid = try TestAuthority.root("td").leaf("spiffe://td/a").svid(entryID: "e1", hint: "h")
        var dumped = ""
        dump(svid, to: &dumped)
        let key = "\(svid.privateKeyPKCS8)".dropFirst().prefix(40)
        for text in ["\(svid)", String(reflecting: svid), dumped, "\([svid])"] {
            #expect(text.contains("spiffe://td/a"))
            #expect(!text.contains(key))
            #expect(!text.contains("privateKey"))
        }
    }
}
