// SPDX-License-Identifier: Apache-2.0

import Crypto
import FoundationEssentials
import SPIFFE
import TestPKI
import Testing
import X509

/// An encoding that is refused: what is done to a certificate that is otherwise read.
struct RefusedEncoding: Sendable, CustomTestStringConvertible {
    let what: String
    let error: LeafCertificateError
    let spoil: @Sendable (inout HandmadeCertificate) -> Void

    init(
        _ what: String,
        _ error: LeafCertificateError,
        _ spoil: @escaping @Sendable (inout HandmadeCertificate) -> Void
    ) {
        self.what = what
        self.error = error
        self.spoil = spoil
    }

    var testDescription: String { what }
}

@Suite struct LeafCertificateTests {
    typealias Handmade = HandmadeCertificate

    @Test func `the fields are read as they were written`() throws {
        let root = try TestAuthority.root("example.org")
        let leaf = try root.leaf("spiffe://example.org/web") {
            $0.serial = [0xFF, 0x01, 0x02]
            $0.dnsNames = ["web.example.org", "web"]
            $0.keyUsage = KeyUsage(digitalSignature: true, keyAgreement: true)
        }
        let read = try LeafCertificate(der: leaf.der)
        #expect(try read.spiffeID == SPIFFEID("spiffe://example.org/web"))
        #expect(read.serial == [0xFF, 0x01, 0x02])
        #expect(read.notBefore == testNow.addingTimeInterval(-60))
        #expect(read.notAfter == testNow.addingTimeInterval(3600))
        #expect(read.spkiBytes == Array(leaf.key.publicKey.derRepresentation))
        #expect(read.spkiSHA256 == Array(SHA256.hash(data: leaf.key.publicKey.derRepresentation)))
        #expect(read.tbsBytes == Array(leaf.certificate.tbsCertificateBytes))
        #expect(!read.isCA)
        #expect(read.keyUsage == [.digitalSignature, .keyAgreement])
        #expect(
            read.extendedKeyUsages == [LeafCertificate.serverAuth, LeafCertificate.clientAuth]
        )
        #expect(read.dnsNames == ["web.example.org", "web"])
        #expect(read.uriNames == ["spiffe://example.org/web"])
        let authority = try LeafCertificate(der: root.der)
        #expect(read.authorityKeyID == authority.subjectKeyID)
        #expect(read.subjectKeyID?.count == 20)
        #expect(read.subjectKeyID != authority.subjectKeyID)
        #expect(authority.isCA)
        #expect(authority.authorityKeyID == nil)
        #expect(authority.keyUsage == [.keyCertSign, .cRLSign])
        #expect(try authority.spiffeID == TrustDomain("example.org").id)
    }

    @Test func `what is absent is nil or empty`() throws {
        let root = try TestAuthority.root("example.org")
        let leaf = try root.leaf("") {
            $0.uris = []
            $0.keyUsage = nil
            $0.extendedKeyUsages = nil
            $0.basicConstraints = nil
            $0.hasKeyIdentifiers = false
        }
        let read = try LeafCertificate(der: leaf.der)
        #expect(read.spiffeID == nil)
        #expect(read.keyUsage == nil)
        #expect(read.extendedKeyUsages == nil)
        #expect(read.authorityKeyID == nil)
        #expect(read.subjectKeyID == nil)
        #expect(read.dnsNames.isEmpty)
        #expect(!read.isCA)
    }

    @Test func `an authority is named by the hash of its public key`() throws {
        let root = try TestAuthority.root("example.org")
        let expected = Array(SHA256.hash(data: root.key.publicKey.derRepresentation))
        #expect(try authoritySPKISHA256(root.der) == expected)
        #expect(throws: LeafCertificateError.truncated) { try authoritySPKISHA256([]) }
    }

    @Test func `a key's ID is the one of RFC 7093's example`() throws {
        // Section 3, method 1.
        let key = try #require(
            Hexadecimal.bytes(
                "047f7f35a79794c950060b8029fc8f363a28f11159692d9d34e6ac948190434735"
                    + "f833b1a66652dc514337aff7f5c9c75d670c019d95a5d639b72744c64a9128bb"
            )
        )
        #expect(
            KeyIdentifier(hashing: key).description == "bf37b3e5808fd46d54b28e846311bcce1cad2e1a"
        )
    }

    @Test func `a certificate's key has its ID, whatever the certificate calls it`() throws {
        let lie = try Certificate.Extension(
            SubjectKeyIdentifier(keyIdentifier: [1, 2, 3]),
            critical: false
        )
        let root = try TestAuthority.root("example.org")
        let said = try root.intermediate()
        let silent = try root.intermediate { $0.hasKeyIdentifiers = false }
        let lying = try root.intermediate {
            $0.hasKeyIdentifiers = false
            $0.extraExtensions.append(lie)
        }
        for authority in [root, said, silent, lying] {
            let hash = SHA256.hash(data: authority.key.publicKey.x963Representation)
            let read = try LeafCertificate(der: authority.der)
            #expect(read.keyIdentifier.bytes == Array(hash.prefix(20)))
            #expect(read.subjectKeyID != read.keyIdentifier.bytes)
        }
    }

    @Test func `a certificate is valid at both ends of its validity`() throws {
        let leaf = try LeafCertificate(
            der: TestAuthority.root("example.org").leaf("spiffe://example.org/web").der
        )
        #expect(leaf.isValid(at: leaf.notBefore))
        #expect(leaf.isValid(at: leaf.notAfter))
        #expect(!leaf.isValid(at: leaf.notBefore.addingTimeInterval(-0.001)))
        #expect(!leaf.isValid(at: leaf.notAfter.addingTimeInterval(0.001)))
    }

    @Test(arguments: [
        ("500101000000Z", -631_152_000.0), ("491231235959Z", 2_524_607_999),
        ("700101000000Z", 0), ("000229120000Z", 951_825_600), ("240229235959Z", 1_709_251_199),
        ("20500101000000Z", 2_524_608_000), ("99991231235959Z", 253_402_300_799),
        ("00000101000000Z", -62_167_219_200), ("21000228235959Z", 4_107_542_399),
        ("19700101000001Z", 1),
    ])
    func `a time names its instant`(_ text: String, _ seconds: Double) throws {
        var certificate = Handmade()
        certificate.validity = Handmade.tlv(0x30, Handmade.time(text) + Handmade.time(text))
        let read = try LeafCertificate(der: certificate.der)
        #expect(read.notBefore == Date(timeIntervalSince1970: seconds))
        #expect(read.notAfter == Date(timeIntervalSince1970: seconds))
    }

    @Test(arguments: [
        "30010100000Z", "3001010000Z", "300101000000", "3001010000000", "300101000000+0000",
        "301301000000Z", "300001000000Z", "300100000000Z", "300132000000Z", "300229000000Z",
        "210229000000Z", "300431000000Z", "300101240000Z", "300101006000Z", "300101000060Z",
        "30010100000/Z", "30010100000:Z", "20300101000000.5Z", "2030010100000Z", "21000229000000Z",
        "-30101000000Z", "Z", "",
    ])
    func `a time in another form or out of the calendar is refused`(_ text: String) {
        for tag: UInt8 in [0x17, 0x18] {
            var certificate = Handmade()
            let time = Handmade.tlv(tag, Array(text.utf8))
            certificate.validity = Handmade.tlv(0x30, time + Handmade.time("310101000000Z"))
            #expect(throws: LeafCertificateError.timeMalformed) {
                try LeafCertificate(der: certificate.der)
            }
        }
    }

    @Test func `a certificate made by hand is read`() throws {
        let read = try LeafCertificate(der: Handmade().der)
        #expect(try read.checkSVIDRules() == SPIFFEID("spiffe://td/a"))
        #expect(read.serial == [0x01, 0x23])
        #expect(LeafVerdict.policy(Handmade().der) == .accepted(try SPIFFEID("spiffe://td/a")))
    }

    @Test(arguments: RefusedEncoding.all)
    func `an encoding that is not DER or no certificate is refused`(_ refused: RefusedEncoding) {
        var certificate = Handmade()
        refused.spoil(&certificate)
        #expect(throws: refused.error) { try LeafCertificate(der: certificate.der) }
    }

    @Test func `a certificate above the largest size is refused`() throws {
        let root = try TestAuthority.root("example.org")
        let leaf = try root.leaf("spiffe://example.org/web", .oversize)
        #expect(throws: LeafCertificateError.tooLong) { try LeafCertificate(der: leaf.der) }
        #expect(throws: LeafCertificateError.tooLong) {
            try LeafCertificate(der: [UInt8](repeating: 0x30, count: LeafCertificate.bytesMax + 1))
        }
    }

    @Test func `every prefix of a certificate is refused`() throws {
        let der = try TestAuthority.root("example.org").leaf("spiffe://example.org/web").der
        for count in der.indices {
            #expect(throws: LeafCertificateError.self) {
                try LeafCertificate(der: Array(der[..<count]))
            }
        }
        #expect(throws: LeafCertificateError.trailingBytes) { try LeafCertificate(der: der + [0]) }
    }

    @Test(arguments: [
        (KeyUsageBits.digitalSignature, KeyUsage(digitalSignature: true)),
        (.nonRepudiation, KeyUsage(nonRepudiation: true)),
        (.keyEncipherment, KeyUsage(keyEncipherment: true)),
        (.dataEncipherment, KeyUsage(dataEncipherment: true)),
        (.keyAgreement, KeyUsage(keyAgreement: true)), (.keyCertSign, KeyUsage(keyCertSign: true)),
        (.cRLSign, KeyUsage(cRLSign: true)), (.encipherOnly, KeyUsage(encipherOnly: true)),
        (.decipherOnly, KeyUsage(decipherOnly: true)),
    ])
    func `each key usage bit is read at its place`(
        _ bits: KeyUsageBits,
        _ usage: KeyUsage
    ) throws {
        let leaf = try TestAuthority.root("td").leaf("spiffe://td/a") { $0.keyUsage = usage }
        #expect(try LeafCertificate(der: leaf.der).keyUsage == bits)
    }

    @Test func `key usage without any bit is read as empty and allows nothing`() throws {
        var certificate = Handmade()
        certificate.extensions[0] = Handmade.certificateExtension(
            Handmade.keyUsageOID,
            critical: true,
            Handmade.tlv(0x03, [0])
        )
        let read = try LeafCertificate(der: certificate.der)
        #expect(read.keyUsage == KeyUsageBits())
        #expect(throws: X509SVIDError.keyUsageHasNoDigitalSignature) {
            try read.checkSVIDRules()
        }
    }
}
