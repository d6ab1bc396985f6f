// SPDX-License-Identifier: Apache-2.0

import Clocks
import Crypto
import FoundationEssentials
import Issuance
import SPIFFE
import SwiftASN1
import Testing
import X509

/// The request of a server below says what servers' requests say, and nothing else (record 0020,
/// "Nested").
struct DownstreamRequestTests {
    private static func request(
        _ serverID: String = "east",
        trustDomain: String = "example.org",
        profile: CertificateProfile = .authority,
        signer: MemorySigner? = nil
    ) throws -> [UInt8] {
        var generator = SystemRandomness()
        return try AuthorityRequest.encoded(
            trustDomain: TrustDomain(trustDomain),
            serverID: serverID,
            profile: profile,
            signer: signer ?? MemorySigner.new(.p256),
            using: &generator
        )
    }

    private static func problem(_ der: [UInt8]) throws -> String? {
        let trustDomain = try TrustDomain("example.org")
        do throws(DownstreamRequestError) {
            _ = try DownstreamRequest(der: der, trustDomain: trustDomain)
            return nil
        } catch {
            #expect(!error.description.isEmpty)
            return error.name
        }
    }

    @Test(arguments: [AuthorityKeyType.p256, .p384, .rsa2048])
    func `a server's own request is read, with any key of an authority`(
        type: AuthorityKeyType
    ) throws {
        let signer = try MemorySigner.new(type)
        let id = "0a1b2c3d-1111-4222-8333-444455556666"
        let der = try Self.request(id, signer: signer)
        let read = try DownstreamRequest(der: der, trustDomain: TrustDomain("example.org"))
        #expect(read.serverID == id && read.der == der)
        #expect(read.publicKey.subjectPublicKeyInfo == signer.subjectPublicKeyInfo)
    }

    @Test func `a long trust domain is cut in the name alone`() throws {
        let name = String(repeating: "a", count: 60) + ".example.org"
        let der = try Self.request(trustDomain: name)
        let read = try DownstreamRequest(der: der, trustDomain: TrustDomain(name))
        #expect(read.serverID == "east")
        // The URI has all of it.
        let other = String(repeating: "a", count: 60) + ".example.net"
        let differs = #expect(throws: DownstreamRequestError.self) {
            try DownstreamRequest(der: der, trustDomain: TrustDomain(other))
        }
        #expect(differs == .contentDiffers)
    }

    @Test func `another trust domain, or another name, is refused`() throws {
        #expect(try Self.problem(Self.request(trustDomain: "other.org")) == "subjectDiffers")
        let empty = try CertificateSigningRequest(
            version: .v1,
            subject: DistinguishedName(),
            privateKey: Certificate.PrivateKey(P256.Signing.PrivateKey()),
            attributes: CertificateSigningRequest.Attributes(),
            signatureAlgorithm: .ecdsaWithSHA256
        )
        var serializer = DER.Serializer()
        try serializer.serialize(empty)
        #expect(try Self.problem(serializer.serializedBytes) == "subjectDiffers")
    }

    @Test func `what may sign more authorities, or a leaf, is refused`() throws {
        for profile in [CertificateProfile.intermediate, .upstreamRoot] {
            #expect(try Self.problem(Self.request(profile: profile)) == "requestDiffers")
        }
    }

    @Test func `whoever has no key proves nothing`() throws {
        var der = try Self.request()
        der[der.count - 1] ^= 1
        #expect(try Self.problem(der) == "certificateRequest")
        #expect(try Self.problem([]) == "certificateRequest")
        #expect(try Self.problem(Self.request() + [0]) == "certificateRequest")
        let long = [UInt8](repeating: 0x30, count: CertificateRequest.derBytesMax + 1)
        #expect(try Self.problem(long) == "certificateRequest")
    }
}
