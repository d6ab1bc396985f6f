// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import TestSeeds
import Testing

struct CertificateRequestTests {
    @Test(arguments: RequestVector.all)
    func `OpenSSL's requests are accepted or refused by name`(_ vector: RequestVector) throws {
        let der = try #require(
            Data(base64Encoded: vector.base64, options: .ignoreUnknownCharacters)
        )
        let outcome: RequestVector.Outcome
        do throws(CertificateRequestError) {
            outcome = .accepted(try CertificateRequest(der: Array(der)).publicKey.algorithm)
        } catch {
            outcome = .refused(error)
        }
        #expect(outcome == vector.outcome)
    }

    @Test func `a request longer than the limit is not even parsed`() throws {
        let limit = CertificateRequest.derBytesMax
        #expect(throws: CertificateRequestError.tooLong) {
            try CertificateRequest(der: [UInt8](repeating: 0x30, count: limit + 1))
        }
        #expect(throws: CertificateRequestError.notDER) {
            try CertificateRequest(der: [UInt8](repeating: 0x30, count: limit))
        }
    }

    @Test func `a request with bytes after its end is refused`() throws {
        let der = try Workshop.requestDER() + [0x00]
        #expect(throws: CertificateRequestError.notDER) { try CertificateRequest(der: der) }
    }

    @Test func `a request of another version is refused`() throws {
        var der = try Workshop.requestDER()
        let version = try #require(der.firstRange(of: [0x02, 0x01, 0x00]))
        der[version.upperBound - 1] = 1
        #expect(throws: CertificateRequestError.version) { try CertificateRequest(der: der) }
    }

    @Test func `a request whose key was exchanged proves nothing`() throws {
        let mine = try Workshop.request(2).publicKey.subjectPublicKeyInfo
        let other = try Workshop.request(3).publicKey.subjectPublicKeyInfo
        var der = try Workshop.requestDER(2)
        let range = try #require(der.firstRange(of: mine))
        der.replaceSubrange(range, with: other)
        #expect(throws: CertificateRequestError.possessionNotProven) {
            try CertificateRequest(der: der)
        }
    }

    @Test func `a signature algorithm of another kind of key is refused`() throws {
        // An EC key beside sha256WithRSAEncryption, with lengths adapted.
        var der = try Workshop.requestDER()
        let ecdsa: [UInt8] = [
            0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02,
        ]
        let rsa: [UInt8] = [
            0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0B, 0x05,
            0x00,
        ]
        let range = try #require(der.firstRange(of: ecdsa))
        der.replaceSubrange(range, with: rsa)
        try #require(der[1] == 0x81)
        der[2] += UInt8(rsa.count - ecdsa.count)
        #expect(
            throws: CertificateRequestError.signatureAlgorithmForOtherKey("1.2.840.113549.1.1.11")
        ) {
            try CertificateRequest(der: der)
        }
    }

    @Test func `an ECDSA algorithm with parameters is refused`() throws {
        var der = try Workshop.requestDER()
        let ecdsa: [UInt8] = [
            0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02,
        ]
        let range = try #require(der.firstRange(of: ecdsa))
        der.replaceSubrange(range, with: [0x30, 0x0C] + ecdsa.dropFirst(2) + [0x05, 0x00])
        try #require(der[1] == 0x81)
        der[2] += 2
        #expect(throws: CertificateRequestError.notDER) { try CertificateRequest(der: der) }
    }

    @Test func `an RSA modulus that is even is refused`() throws {
        let vector = try #require(
            RequestVector.all.first { $0.outcome == .accepted(.rsa(bits: 2048)) }
        )
        let der = try #require(
            Data(base64Encoded: vector.base64, options: .ignoreUnknownCharacters)
        )
        var key = try CertificateRequest(der: Array(der)).publicKey.subjectPublicKeyInfo
        // The modulus ends just before the exponent's INTEGER: 02 03 01 00 01.
        key[key.count - 6] &= 0xFE
        #expect(throws: SubjectPublicKeyError.rsaModulusEven) {
            try SubjectPublicKey(subjectPublicKeyInfo: key)
        }
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `whatever is done to a request, it is refused or still proves its own key`(
        seed: UInt64
    ) throws {
        var generator = SeededGenerator(seed: seed)
        let vectors = try RequestVector.all.prefix(6).map {
            Array(
                try #require(Data(base64Encoded: $0.base64, options: .ignoreUnknownCharacters))
            )
        }
        for _ in 0..<250 {
            let original = try #require(vectors.randomElement(using: &generator))
            let mutated = mutate(original, using: &generator)
            guard let accepted = try? CertificateRequest(der: mutated) else { continue }
            #expect(try accepted == CertificateRequest(der: original))
        }
    }

    /// One to three changes: a bit, a byte, a cut, a copied range, a length.
    private func mutate(_ der: [UInt8], using generator: inout SeededGenerator) -> [UInt8] {
        var der = der
        for _ in 0..<Int.random(in: 1...3, using: &generator) where !der.isEmpty {
            let index = Int.random(in: 0..<der.count, using: &generator)
            switch Int.random(in: 0..<6, using: &generator) {
            case 0: der[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 1: der[index] = UInt8.random(in: 0...255, using: &generator)
            case 2: der.removeSubrange(index...)
            case 3: der.remove(at: index)
            case 4:
                let end = Int.random(in: index...der.count, using: &generator)
                der.insert(contentsOf: der[index..<end], at: index)
            default:
                let interesting: [UInt8] = [0x00, 0x7F, 0x80, 0x81, 0x82, 0x84, 0x88, 0xFF]
                der[index] = interesting[Int.random(in: 0..<interesting.count, using: &generator)]
            }
        }
        return der
    }
}
