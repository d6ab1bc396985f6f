// SPDX-License-Identifier: Apache-2.0

internal import Issuance
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// Two readings of a certificate, of which each may refuse more than the other, never say
/// different things of one that both accept.
enum CertificateProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let leaf = try? LeafCertificate(der: input) else { return false }
        try expect(
            input.firstRange(of: leaf.tbsBytes) != nil
                && leaf.tbsBytes.firstRange(of: leaf.spkiBytes) != nil,
            "the reader returns bytes that the certificate does not hold"
        )
        // Issuance has a reader of its own, which is given what an upstream answers.
        if let trustDomain = try? TrustDomain("example.org"),
            UpstreamChain.problem(saidByRoot: input, trustDomain: trustDomain) == nil
        {
            try expect(
                leaf.isCA && leaf.uriNames == [trustDomain.id.description]
                    && UpstreamChain.isSelfIssued(input),
                "a root of another trust domain, or none"
            )
        }
        // What only one of them can parse is refused by the verifier, which asks both.
        guard let other = try? Certificate(derEncoded: input) else { return false }
        try expect(
            leaf.notBefore == other.notValidBefore && leaf.notAfter == other.notValidAfter,
            "validity"
        )
        try expect(
            leaf.serial.elementsEqual(other.serialNumber.bytes.drop { $0 == 0 }),
            "serial \(leaf.serial), \(other.serialNumber)"
        )
        let verdict = Verdict.of { () throws(X509SVIDError) in try leaf.checkSVIDRules() }
        let policy = Verdict.of { () throws(X509SVIDError) in
            try SPIFFEPolicy.check(leaf: other)
        }
        // swift-certificates parses extensions only when they are looked at.
        guard policy != .broken(.extensionMalformed), policy != .broken(.versionNot3) else {
            return false
        }
        try expect(verdict == policy, "the reader says \(verdict), the policy \(policy)")
        return verdict.isAccepted
    }

    private enum Verdict: Equatable {
        case accepted(SPIFFEID)
        case broken(X509SVIDError)

        var isAccepted: Bool {
            if case .accepted = self { true } else { false }
        }

        static func of(_ check: () throws(X509SVIDError) -> SPIFFEID) -> Self {
            do throws(X509SVIDError) { return .accepted(try check()) } catch {
                return .broken(error)
            }
        }
    }
}
