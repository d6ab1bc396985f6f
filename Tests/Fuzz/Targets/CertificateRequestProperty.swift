// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import Issuance
internal import SPIFFE
internal import SwiftASN1
internal import X509

/// Whoever's request is accepted has proved possession of the key in it, also in the eyes of
/// swift-certificates, and gets a certificate of exactly that key.
enum CertificateRequestProperty {
    /// 2030-03-17 17:46:40 UTC.
    private static let now = Date(timeIntervalSince1970: 1_900_000_000)

    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        if try checkRequest(input) { return true }
        // No mutation of a signed request is accepted, so what lies behind the signature is reached
        // by signing: an input that holds the workshop's key is also read as what is to be signed.
        guard let workshop = Workshop.shared, input.firstRange(of: workshop.publicKey) != nil,
            input.count < CertificateRequest.derBytesMax
        else { return false }
        return try checkRequest(expectSuccess("sign") { try workshop.request(signing: input) })
    }

    private static func checkRequest(_ der: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let request = try? CertificateRequest(der: der) else { return false }
        let key = request.publicKey
        let readAgain = try? SubjectPublicKey(subjectPublicKeyInfo: key.subjectPublicKeyInfo)
        try expect(readAgain == key, "the accepted key does not read as itself")
        // Subject and attributes are ignored here and parsed there, so only what both take counts.
        if let other = try? CertificateSigningRequest(derEncoded: der) {
            let otherKey = try expectSuccess("the key is written") {
                var serializer = DER.Serializer()
                try serializer.serialize(other.publicKey)
                return serializer.serializedBytes
            }
            try expect(
                otherKey == key.subjectPublicKeyInfo,
                "the two readings find different keys"
            )
            try expect(
                other.publicKey.isValidSignature(other.signature, for: other),
                "accepted without proof of possession"
            )
        }
        guard let workshop = Workshop.shared else {
            throw PropertyBroken("the workshop of the test cannot be made")
        }
        let certificate: [UInt8]
        do {
            certificate = try workshop.certificate(for: request, now: now)
        } catch IssuanceRefusal.keyOfAuthority {
            return false
        } catch { throw PropertyBroken("an accepted request is not issued: \(error)") }
        let leaf = try expectSuccess("what is issued is read") {
            let leaf = try LeafCertificate(der: certificate)
            try leaf.checkSVIDRules()
            return leaf
        }
        try expect(leaf.spkiBytes == key.subjectPublicKeyInfo, "another key was certified")
        return true
    }

    /// A certificate authority and a requester with fixed keys.
    private struct Workshop: Sendable {
        static let shared = try? Workshop()

        let publicKey: [UInt8]
        private let requester: P256.Signing.PrivateKey
        private let signer: MemorySigner
        private let issuer: Issuer

        init() throws {
            requester = try Self.key(2)
            publicKey = Array(requester.publicKey.derRepresentation)
            signer = try MemorySigner(pkcs8DER: Array(try Self.key(1).derRepresentation))
            let trustDomain = try TrustDomain("example.org")
            var serials = CountingGenerator()
            var authority = try Authority.selfSigned(
                trustDomain: trustDomain,
                serverID: "fuzz",
                lifetimes: .standard,
                signer: signer,
                now: CertificateRequestProperty.now,
                using: &serials
            )
            authority.state = .active
            issuer = try Issuer(
                trustDomain: trustDomain,
                lifetimes: .standard,
                authority: authority
            )
        }

        /// The key whose scalar is `number` repeated; Tests/Fuzz/seeds knows both.
        private static func key(_ number: UInt8) throws -> P256.Signing.PrivateKey {
            try P256.Signing.PrivateKey(rawRepresentation: [UInt8](repeating: number, count: 32))
        }

        /// A request that holds `info` as it is, signed by the requester (RFC 2986 section 4.2).
        func request(signing info: [UInt8]) throws -> [UInt8] {
            let signature = Array(try requester.signature(for: info).derRepresentation)
            let algorithm: [UInt8] = [
                0x30, 0x0A, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02,
            ]
            let content = info + algorithm + [0x03, UInt8(signature.count + 1), 0x00] + signature
            let length = [UInt8(content.count >> 8), UInt8(content.count & 0xFF)]
            switch content.count {
            case ..<0x80: return [0x30, length[1]] + content
            case ..<0x100: return [0x30, 0x81, length[1]] + content
            default: return [0x30, 0x82] + length + content
            }
        }

        func certificate(for request: CertificateRequest, now: Date) throws -> [UInt8] {
            var serials = CountingGenerator()
            var batch = IssuanceBatch(issuer: issuer)
            try batch.prepare(
                issuer.approveAgent(request, name: "fuzz", now: now),
                using: &serials
            )
            return try batch.sign(with: signer).first?.der ?? []
        }
    }

    /// The same serials in every run, so that an input always does the same.
    private struct CountingGenerator: RandomNumberGenerator {
        private var count: UInt64 = 0

        mutating func next() -> UInt64 {
            count += 1
            return count &* 0x9E37_79B9_7F4A_7C15
        }
    }
}
