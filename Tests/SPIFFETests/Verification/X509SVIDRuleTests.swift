// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SPIFFE
import SwiftASN1
import TestPKI
import Testing
import X509

/// The rows of X509-SVID that are about the leaf, each run through the whole verifier.
@Suite struct X509SVIDLeafRuleTests {
    private let root: TestAuthority
    private let web: SPIFFEID

    init() throws {
        root = try TestAuthority.root("example.org")
        web = try SPIFFEID("spiffe://example.org/web")
    }

    private func verdict(_ change: (inout TestProfile) -> Void) async throws -> Verdict {
        let leaf = try root.leaf("spiffe://example.org/web", change)
        return await Verdict.of(leaf.chain, trusting: [root])
    }

    private func verdict(_ defect: TestDefect) async throws -> Verdict {
        let leaf = try root.leaf("spiffe://example.org/web", defect)
        return await Verdict.of(leaf.chain, trusting: [root])
    }

    @Test func `X-1 a leaf with exactly one URI name is accepted`() async throws {
        #expect(try await verdict { _ in } == .accepted(web))
    }

    @Test(arguments: ["https://example.org/", "spiffe://example.org/web", "spiffe://other/a", "x:"])
    func `X-1 a second URI name of any scheme is refused`(_ uri: String) async throws {
        #expect(try await verdict { $0.uris.append(uri) } == .refused(.ruleBroken(.uriMany)))
        #expect(try await verdict { $0.uris.insert(uri, at: 0) } == .refused(.ruleBroken(.uriMany)))
    }

    @Test func `X-1 a leaf without URI name is refused`() async throws {
        #expect(try await verdict(.uriMissing) == .refused(.ruleBroken(.uriMissing)))
        #expect(try await verdict { $0.uris = [] } == .refused(.ruleBroken(.uriMissing)))
    }

    @Test func `X-2 any number of other names is accepted`() async throws {
        let names: [GeneralName] = [
            .dnsName("a.example.org"), .dnsName("*.example.org"), .rfc822Name("a@example.org"),
            .ipAddress(ASN1OctetString(contentBytes: [127, 0, 0, 1])),
            .directoryName(try DistinguishedName { CommonName("a") }),
            .registeredID([1, 2, 3]),
        ]
        #expect(try await verdict { $0.otherNames = names } == .accepted(web))
        let leaf = try root.leaf("spiffe://example.org/web") { $0.otherNames = names }
        let read = try LeafCertificate(der: leaf.der)
        #expect(read.dnsNames == ["a.example.org", "*.example.org"])
    }

    @Test func `X-3 a leaf whose ID has no path is refused`() async throws {
        #expect(try await verdict(.pathMissing) == .refused(.ruleBroken(.idHasNoPath)))
    }

    @Test func `X-4 an empty subject is accepted if the alternative name is critical`() async throws
    {
        let critical = try await verdict {
            $0.subject = DistinguishedName()
            $0.alternativeNameIsCritical = true
        }
        #expect(critical == .accepted(web))
        #expect(
            try await verdict(.subjectEmptyAndNameNotCritical)
                == .refused(.ruleBroken(.sanNotCritical))
        )
    }

    @Test func `X-6 a signing certificate never authenticates a peer`() async throws {
        #expect(try await verdict(.authorityAsLeaf) == .refused(.ruleBroken(.leafIsAuthority)))
        #expect(
            await Verdict.of([root.der], trusting: [root])
                == .refused(.ruleBroken(.leafIsAuthority))
        )
        let intermediate = try root.intermediate { $0.uris = ["spiffe://example.org/web"] }
        #expect(
            await Verdict.of(intermediate.intermediates, trusting: [root])
                == .refused(.ruleBroken(.leafIsAuthority))
        )
    }

    @Test func `X-7 a leaf without basic constraints is no authority`() async throws {
        #expect(try await verdict { $0.basicConstraints = nil } == .accepted(web))
    }

    @Test func `X-9 key usage is there and critical`() async throws {
        #expect(try await verdict(.keyUsageMissing) == .refused(.ruleBroken(.keyUsageMissing)))
        #expect(
            try await verdict(.keyUsageNotCritical) == .refused(.ruleBroken(.keyUsageNotCritical))
        )
    }

    @Test func `X-10 a leaf has digitalSignature and may have the two key uses`() async throws {
        let usage = KeyUsage(digitalSignature: true, keyEncipherment: true, keyAgreement: true)
        #expect(try await verdict { $0.keyUsage = usage } == .accepted(web))
        #expect(
            try await verdict(.digitalSignatureMissing)
                == .refused(.ruleBroken(.keyUsageHasNoDigitalSignature))
        )
    }

    @Test(arguments: [TestDefect.keyUsageCertSign, .keyUsageCRLSign])
    func `X-10 a leaf that may sign certificates or lists is refused`(
        _ defect: TestDefect
    ) async throws {
        #expect(try await verdict(defect) == .refused(.ruleBroken(.leafMaySign)))
    }

    @Test func `X-11 a leaf without extended key usage is accepted`() async throws {
        #expect(try await verdict { $0.extendedKeyUsages = nil } == .accepted(web))
        let withMore: [ExtendedKeyUsage.Usage] = [.codeSigning, .clientAuth, .serverAuth]
        #expect(try await verdict { $0.extendedKeyUsages = withMore } == .accepted(web))
        #expect(try await verdict { $0.extendedKeyUsageIsCritical = true } == .accepted(web))
    }

    @Test(arguments: [TestDefect.clientAuthMissing, .serverAuthMissing, .otherUsageOnly])
    func `X-11 extended key usage without both TLS roles is refused`(
        _ defect: TestDefect
    ) async throws {
        #expect(try await verdict(defect) == .refused(.ruleBroken(.extendedKeyUsageIncomplete)))
    }

    @Test func `X-11 anyExtendedKeyUsage does not stand for the two roles`() async throws {
        #expect(
            try await verdict { $0.extendedKeyUsages = [.any] }
                == .refused(.ruleBroken(.extendedKeyUsageIncomplete))
        )
    }

    @Test func `X-13 a URI of another scheme is refused`() async throws {
        #expect(
            try await verdict(.schemeNotSPIFFE)
                == .refused(.ruleBroken(.idMalformed(.schemeNotSPIFFE)))
        )
    }

    @Test func `X-13 a URI with a NUL byte is refused`() async throws {
        #expect(
            try await verdict(.nulInURI)
                == .refused(.ruleBroken(.idMalformed(.pathCharacter(0))))
        )
    }

    @Test func `ID-7 an ID of 2048 bytes is accepted in a certificate`() async throws {
        let longest = "spiffe://example.org/" + String(repeating: "a", count: 2048 - 21)
        let accepted = try root.leaf(longest)
        #expect(
            await Verdict.of(accepted.chain, trusting: [root]) == .accepted(try SPIFFEID(longest))
        )
        let refused = try root.leaf(longest + "a")
        #expect(
            await Verdict.of(refused.chain, trusting: [root])
                == .refused(.ruleBroken(.idMalformed(.tooLong)))
        )
    }

    @Test func `ID-11 no byte of the signed part can be changed`() async throws {
        let leaf = try root.leaf("spiffe://example.org/web")
        let signed = try LeafCertificate(der: leaf.der).tbsBytes
        let start = 4
        #expect(Array(leaf.der[start..<start + signed.count]) == signed)
        let verifier = PeerVerifier(bundles: [root.trustDomain: root.bundle])
        for position in start..<(start + signed.count) {
            var changed = leaf.der
            changed[position] ^= 0x01
            let verdict = await Verdict.of([changed], by: verifier)
            guard case .accepted = verdict else { continue }
            Issue.record("byte \(position) was changed and the certificate accepted")
        }
    }
}
