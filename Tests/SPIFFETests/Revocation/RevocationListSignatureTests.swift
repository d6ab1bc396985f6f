// SPDX-License-Identifier: Apache-2.0

import SPIFFE
import TestPKI
import Testing
import X509

@Suite struct RevocationListSignatureTests {
    private func refusal(_ der: [UInt8], by authority: [UInt8]) throws -> RevocationListError? {
        let list = try CertificateRevocationList(der: der)
        do throws(RevocationListError) {
            let verified = try list.verify(signedBy: authority)
            #expect(verified.list == list)
            #expect(verified.authority == authority)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: ["P-256", "P-384", "RSA"])
    func `a list verifies with the authority that signed it`(_ kind: String) throws {
        let authority =
            switch kind {
            case "P-256": try ListAuthority.p256()
            case "P-384": try ListAuthority.p384()
            default: try ListAuthority.rsa()
            }
        #expect(try refusal(authority.list(), by: authority.root.der) == nil)
        let changed = try authority.list { $0.entries.removeLast() }
        #expect(try refusal(changed, by: authority.root.der) == nil)
        // The signature of the one list is not that of the other.
        var other = HandmadeList()
        let read = try CertificateRevocationList(der: authority.list())
        other.issuer = read.issuer
        other.algorithm = authority.algorithm
        other.outerAlgorithm = authority.algorithm
        other.extensions[0] = HandmadeList.keyID(
            HandmadeCertificate.tlv(0x80, read.authorityKeyID)
        )
        other.entries.removeLast()
        other.signature = HandmadeCertificate.tlv(0x03, try [0] + authority.sign(read.tbsBytes))
        #expect(try refusal(other.der, by: authority.root.der) == .signatureDoesNotVerify)
    }

    @Test func `another authority's key does not count`() throws {
        let authority = try ListAuthority.p256()
        let other = try ListAuthority.p256()
        let list = try authority.list()
        #expect(try refusal(list, by: other.root.der) == .issuerDiffers)
        // Even if it has the same name.
        let named = try ListAuthority.p256 { $0.subject = authority.root.certificate.subject }
        #expect(try refusal(list, by: named.root.der) == .authorityKeyIDDiffers)
        // Even if the list says that it was its key.
        let keyID = try #require(try LeafCertificate(der: named.root.der).subjectKeyID)
        let lying = try authority.list {
            $0.extensions[0] = HandmadeList.keyID(HandmadeCertificate.tlv(0x80, keyID))
        }
        #expect(try refusal(lying, by: named.root.der) == .signatureDoesNotVerify)
    }

    @Test func `an authority without a key identifier signs no list`() throws {
        let authority = try ListAuthority.p256 { $0.hasKeyIdentifiers = false }
        #expect(try refusal(authority.list(), by: authority.root.der) == .authorityKeyIDDiffers)
    }

    @Test func `an authority that may not sign lists signs none`() throws {
        for usage in [KeyUsage(keyCertSign: true), nil] {
            let authority = try ListAuthority.p256 { $0.keyUsage = usage }
            let refusal = try refusal(authority.list(), by: authority.root.der)
            #expect(refusal == .authorityMayNotSignLists)
        }
    }

    @Test func `an algorithm that is not the key's does not verify`() throws {
        let authority = try ListAuthority.p256()
        for algorithm in [ListAuthority.ecdsaWithSHA384, ListAuthority.sha256WithRSA] {
            let list = try authority.list {
                ($0.algorithm, $0.outerAlgorithm) = (algorithm, algorithm)
            }
            #expect(try refusal(list, by: authority.root.der) == .signatureDoesNotVerify)
        }
    }

    @Test func `a signature that is none does not verify`() throws {
        let authority = try ListAuthority.p256()
        let list = try CertificateRevocationList(der: authority.list())
        var spoiled = HandmadeList()
        spoiled.issuer = list.issuer
        spoiled.extensions[0] = HandmadeList.keyID(
            HandmadeCertificate.tlv(0x80, list.authorityKeyID)
        )
        for content: [UInt8] in [[0], [0, 0x30, 0], [0] + [UInt8](repeating: 1, count: 64)] {
            spoiled.signature = HandmadeCertificate.tlv(0x03, content)
            #expect(try refusal(spoiled.der, by: authority.root.der) == .signatureDoesNotVerify)
        }
    }

    @Test func `an authority that cannot be read verifies nothing`() throws {
        let authority = try ListAuthority.p256()
        let list = try authority.list()
        #expect(try refusal(list, by: []) == .authorityMalformed(.truncated))
        #expect(try refusal(list, by: list) != nil)
    }

    @Test func `no bit of what is signed can be changed`() throws {
        let authority = try ListAuthority.p256()
        let list = try authority.list()
        let tbs = try CertificateRevocationList(der: list).tbsBytes
        let start = try #require(list.firstRange(of: tbs)).lowerBound
        for index in start..<(start + tbs.count) {
            var changed = list
            changed[index] ^= 1 << UInt8(index % 8)
            let der = changed
            #expect(throws: RevocationListError.self, "byte \(index)") {
                try CertificateRevocationList(der: der).verify(signedBy: authority.root.der)
            }
        }
    }
}
