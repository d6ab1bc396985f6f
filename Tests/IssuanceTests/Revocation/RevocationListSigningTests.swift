// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import Testing
import X509

extension Workshop {
    /// What a list of the authority says, begun with the authority.
    func listContent(
        _ serials: [[UInt8]] = [],
        thisUpdate: Date? = nil,
        nextUpdate: Date? = nil,
        authorityID: String? = nil
    ) -> RevocationListContent {
        RevocationListContent(
            authorityID: authorityID ?? authority.id,
            thisUpdate: thisUpdate ?? authority.notBefore,
            nextUpdate: nextUpdate ?? Self.now.addingTimeInterval(7200),
            isLast: false,
            entries: serials.map {
                .init(
                    serial: $0,
                    revokedAt: Date(timeIntervalSince1970: 1_899_997_200),
                    notAfter: Self.now.addingTimeInterval(3600)
                )
            }
        )
    }

    func list(_ serials: [[UInt8]] = []) throws -> SignedRevocationList {
        try PreparedRevocationList(listContent(serials), authority: authority)
            .signed(with: signer)
    }
}

@Suite struct RevocationListSigningTests {
    /// A signer whose device is gone.
    private struct LostSigner: Signer {
        let subjectPublicKeyInfo: [UInt8]
        let signatureAlgorithm = SignatureAlgorithm.ecdsaWithSHA256

        func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
            throw .unavailable(reason: "gone")
        }
    }

    private func refusal(
        _ content: RevocationListContent,
        _ authority: Authority
    ) -> RevocationListIssuanceError? {
        do throws(RevocationListIssuanceError) {
            _ = try PreparedRevocationList(content, authority: authority)
            return nil
        } catch {
            return error
        }
    }

    private func refusal(
        of prepared: PreparedRevocationList,
        with signer: some Signer
    ) -> RevocationListIssuanceError? {
        do throws(RevocationListIssuanceError) {
            _ = try prepared.signed(with: signer)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: AuthorityKeyType.allCases)
    func `a list reads as it was meant, with every kind of key`(type: AuthorityKeyType) throws {
        let workshop = try Workshop(signer: Workshop.signer(of: type))
        let signed = try workshop.list([[0x7F], [0x80], [1, 0]])
        let list = try CertificateRevocationList(der: signed.der)
        let authority = try LeafCertificate(der: workshop.authority.certificateDER)
        #expect(list.thisUpdate == workshop.authority.notBefore)
        #expect(list.nextUpdate == Workshop.now.addingTimeInterval(7200))
        #expect(list.entries.map(\.serial) == [[0x7F], [0x80], [1, 0]])
        #expect(
            list.entries.allSatisfy { $0.revokedAt.timeIntervalSince1970 == 1_899_997_200 }
        )
        #expect(list.authorityKeyID == authority.subjectKeyID)
        #expect(Hexadecimal.text(list.authorityKeyID) == workshop.authority.id)
        #expect(signed.sha256 == Array(SHA256.hash(data: signed.der)))
        #expect(signed.prepared.tbsSHA256 == Array(SHA256.hash(data: list.tbsBytes)))
        try list.verify(signedBy: workshop.authority.certificateDER)
    }

    @Test func `the number is the time in seconds`() throws {
        let signed = try Workshop().list()
        #expect(signed.prepared.number == 1_899_999_940)
        let list = try CertificateRevocationList(der: signed.der)
        #expect(list.number == [0x71, 0x3F, 0xB2, 0xC4])
    }

    @Test func `RFC 5280 5.1.2.6: a list without a certificate has no field for them`() throws {
        let signed = try Workshop().list()
        // nextUpdate 19:46:40, and at once the extensions.
        let end = Array("300317194640Z".utf8)
        let range = try #require(signed.der.firstRange(of: end))
        #expect(signed.der[range.upperBound] == 0xA0)
    }

    @Test func `the issuer is the authority's subject byte for byte`() throws {
        let workshop = try Workshop()
        let list = try CertificateRevocationList(der: workshop.list().der)
        let certificate = workshop.authority.certificateDER
        let first = try #require(certificate.firstRange(of: list.issuer))
        // The certificate has it twice, as issuer and as subject.
        #expect(certificate[first.upperBound...].firstRange(of: list.issuer) != nil)
    }

    @Test func `the same content has the same bytes, in whatever order it comes`() throws {
        let workshop = try Workshop()
        let serials: [[UInt8]] = [[1, 0], [0x80], [2], [1, 0, 0], [0x7F, 0xFF]]
        let digests = try [serials, serials.reversed()].map {
            try PreparedRevocationList(
                workshop.listContent($0),
                authority: workshop.authority
            ).tbsSHA256
        }
        #expect(digests[0] == digests[1])
        let other = try PreparedRevocationList(
            workshop.listContent(serials.dropLast()),
            authority: workshop.authority
        )
        #expect(other.tbsSHA256 != digests[0])
    }

    @Test func `a time from 2050 on is GeneralizedTime`() throws {
        let workshop = try Workshop(now: Date(timeIntervalSince1970: 2_524_608_000 - 3600))
        let content = workshop.listContent(nextUpdate: workshop.authority.notAfter)
        let signed = try PreparedRevocationList(content, authority: workshop.authority)
            .signed(with: workshop.signer)
        #expect(signed.der.firstRange(of: Array("491231225900Z".utf8)) != nil)
        #expect(signed.der.firstRange(of: Array("20500101230000Z".utf8)) != nil)
    }

    @Test func `the longest list is signed and read`() throws {
        let workshop = try Workshop()
        let signed = try workshop.list(
            (0..<RevocationListPlan.placesMax).map {
                [1] + [UInt8](repeating: 7, count: 13) + ListedServer.serial(9, $0).dropFirst()
            }
        )
        #expect(signed.der.count < 362_000)
        #expect(try CertificateRevocationList(der: signed.der).count == 10_000)
    }

    @Test func `an authority signs lists in every state but revoked`() throws {
        let workshop = try Workshop()
        var authority = workshop.authority
        for state in Authority.State.allCases {
            authority.state = state
            let expected: RevocationListIssuanceError? =
                state == .revoked ? .authorityRevoked : nil
            #expect(refusal(workshop.listContent(), authority) == expected)
        }
    }

    @Test func `a list of another authority is not prepared`() throws {
        let workshop = try Workshop()
        let content = workshop.listContent(authorityID: "other")
        #expect(refusal(content, workshop.authority) == .authorityChanged)
        var spoiled = workshop.authority
        spoiled = Authority(
            id: spoiled.id,
            serverID: spoiled.serverID,
            state: .active,
            certificateDER: [],
            notBefore: spoiled.notBefore,
            notAfter: spoiled.notAfter
        )
        #expect(
            refusal(workshop.listContent(), spoiled) == .authority(.certificateUnreadable)
        )
    }

    @Test func `a list lies in its authority's validity and ends after it begins`() throws {
        let workshop = try Workshop()
        let authority = workshop.authority
        func refusal(_ begin: Date, _ end: Date) -> RevocationListIssuanceError? {
            self.refusal(
                workshop.listContent(thisUpdate: begin, nextUpdate: end),
                authority
            )
        }
        let (begin, end) = (authority.notBefore, authority.notAfter)
        #expect(refusal(begin, end) == nil)
        #expect(refusal(begin.addingTimeInterval(-1), end) == .timesRefused)
        #expect(refusal(begin, end.addingTimeInterval(1)) == .timesRefused)
        #expect(refusal(begin, begin) == .timesRefused)
        #expect(refusal(end, begin) == .timesRefused)
        #expect(refusal(.distantPast, end) == .timesRefused)
    }

    @Test func `a signer of another key signs no list`() throws {
        let workshop = try Workshop()
        let prepared = try PreparedRevocationList(
            workshop.listContent(),
            authority: workshop.authority
        )
        #expect(refusal(of: prepared, with: try Workshop.signer(7)) == .signerIsNotAuthority)
        let other = try Workshop.signer(of: .p384)
        #expect(refusal(of: prepared, with: other) == .signerIsNotAuthority)
    }

    @Test func `a signature that does not verify leaves nobody with a list`() throws {
        let workshop = try Workshop()
        let prepared = try PreparedRevocationList(
            workshop.listContent(),
            authority: workshop.authority
        )
        let foreign = ForeignSigner(shown: workshop.signer, used: try Workshop.signer(7))
        #expect(
            refusal(of: prepared, with: foreign) == .listRefused(.signatureDoesNotVerify)
        )
        let lost = LostSigner(subjectPublicKeyInfo: workshop.signer.subjectPublicKeyInfo)
        #expect(
            refusal(of: prepared, with: lost) == .signer(.unavailable(reason: "gone"))
        )
    }

    @Test func `another list than the one prepared is not taken`() throws {
        let workshop = try Workshop()
        let (one, other) = (try workshop.list([[1]]), try workshop.list([[2]]))
        #expect(throws: RevocationListIssuanceError.signedBytesDiffer) {
            try SignedRevocationList(der: one.der, prepared: other.prepared)
        }
        #expect(throws: RevocationListIssuanceError.listRefused(.encoding(.trailingBytes))) {
            try SignedRevocationList(der: one.der + [0], prepared: one.prepared)
        }
        #expect(try SignedRevocationList(der: one.der, prepared: one.prepared) == one)
    }

    @Test func `a serial number that no reader takes is not on a list that is given away`() throws {
        let workshop = try Workshop()
        for serial: [UInt8] in [[], [UInt8](repeating: 1, count: 21)] {
            let prepared = try PreparedRevocationList(
                workshop.listContent([serial]),
                authority: workshop.authority
            )
            let refusal = refusal(of: prepared, with: workshop.signer)
            #expect(refusal == .listRefused(.serialMalformed))
        }
        let twice = try PreparedRevocationList(
            workshop.listContent([[1], [1]]),
            authority: workshop.authority
        )
        #expect(
            refusal(of: twice, with: workshop.signer) == .listRefused(.serialsNotAscending)
        )
    }

    @Test func `no reader takes a list for a certificate, or the other way round`() throws {
        let workshop = try Workshop()
        for serials: [[UInt8]] in [[], [[1]]] {
            let der = try workshop.list(serials).der
            #expect(throws: LeafCertificateError.self) { try LeafCertificate(der: der) }
            #expect(throws: (any Error).self) { try Certificate(derEncoded: der) }
        }
        #expect(throws: RevocationListError.self) {
            try CertificateRevocationList(der: workshop.authority.certificateDER)
        }
    }
}
