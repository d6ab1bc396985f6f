// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import Crypto
import Foundation
import NodeAgent
import SPIFFE
import TestPKI
import Testing

/// What an agent gives to a server below, and what it gives to nobody.
@Suite struct CertifiedAuthorityTests {
    private let key = P256.Signing.PrivateKey()
    private let root: TestAuthority
    private let upstream: TestAuthority
    private let request: CertifyRequest

    init() throws {
        root = try TestAuthority.root("example.org")
        upstream = try root.intermediate()
        request = try Self.request(key)
    }

    private static func request(_ key: P256.Signing.PrivateKey) throws -> CertifyRequest {
        let key = try unwrapped(NodeKey(pkcs8: Array(key.derRepresentation)))
        return try CertifyRequest(csr: key.certificateRequest(), lifetimeSeconds: 86_400)
    }

    private func bundle(_ authorities: [[UInt8]]) -> TrustBundle {
        TrustBundle(
            trustDomain: root.trustDomain,
            x509Authorities: authorities,
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
    }

    /// Why a chain is not given on; nil if it is.
    private func refusal(
        _ chain: [[UInt8]],
        in roots: [[UInt8]]? = nil
    ) async throws -> String? {
        do throws(DownstreamRefusal) {
            _ = try await CertifiedAuthority(
                checking: chain,
                for: request,
                in: bundle(roots ?? [root.der]),
                now: testNow
            )
            return nil
        } catch {
            guard case .answerRefused(let rule) = error else { throw error }
            return rule
        }
    }

    private func certified(
        _ change: (inout TestProfile) -> Void = { _ in }
    ) throws -> [[UInt8]] {
        try upstream.certified(key.publicKey, change)
    }

    @Test func `a path for the key asked with, to a root of the bundle, is given on`() async throws
    {
        let chain = try certified { $0.certifyLeavesAlone() }
        let authority = try await CertifiedAuthority(
            checking: chain,
            for: request,
            in: bundle([root.der]),
            now: testNow
        )
        #expect(authority.chain == chain)
        let path = try (chain + [root.der]).map { try LeafCertificate(der: $0) }
        #expect(authority.keyIDs == path.map(\.keyIdentifier.bytes))
        #expect(authority.keyIDs.count == 3 && authority.notAfter == path[0].notAfter)
    }

    @Test func `a chain for another key, of another domain or to another root is refused`()
        async throws
    {
        let other = try upstream.certified(P256.Signing.PrivateKey().publicKey)
        #expect(try await refusal(other) == "it is for another key")
        let foreign = try certified { $0.uris = ["spiffe://partner.org"] }
        #expect(try await refusal(foreign) == "its one URI is not the trust domain's")
        let unnamed = try certified { $0.uris = [] }
        #expect(try await refusal(unnamed) == "its one URI is not the trust domain's")
        let stranger = try TestAuthority.root("example.org").certified(key.publicKey)
        #expect(
            try await refusal(stranger) == "its path ends at no root that the agent knows"
        )
    }

    @Test func `a chain that does not hang together is refused`() async throws {
        #expect(try await refusal([])?.hasPrefix("it has no certificate") == true)
        let chain = try certified()
        #expect(try await refusal([chain[0], chain[1], chain[1], chain[1]]) != nil)
        #expect(try await refusal([chain[0]]) != nil)
        #expect(try await refusal([chain[0], [1, 2, 3]]) == "a certificate of it cannot be read")
        #expect(try await refusal([[1, 2, 3]]) == "a certificate of it cannot be read")
    }

    @Test func `a certificate that may sign nothing, or has ended, is refused`() async throws {
        let leaf = try certified { $0.certifyNothing() }
        #expect(try await refusal(leaf) != nil)
        let past = try certified { $0.notAfter = testNow.addingTimeInterval(-1) }
        #expect(try await refusal(past) != nil)
        let early = try certified { $0.notBefore = testNow.addingTimeInterval(60) }
        #expect(try await refusal(early) != nil)
    }

    @Test func `a server's own authority is a root of nothing`() async throws {
        let own = try TestAuthority.root("example.org") { $0.certifyLeavesAlone() }
        let chain = try own.certified(key.publicKey)
        #expect(try await refusal(chain, in: [own.der, root.der]) != nil)
    }

    @Test func `a request that is too long, unsigned or for no time is refused by name`() throws {
        func rule(_ csr: [UInt8], _ lifetime: Int64 = 86_400) -> String? {
            do throws(DownstreamRefusal) {
                _ = try CertifyRequest(csr: csr, lifetimeSeconds: lifetime)
                return nil
            } catch {
                #expect(error.error.kind == .invalidArgument)
                return error.error.reason
            }
        }
        let csr = request.csr
        #expect(rule(csr) == nil)
        #expect(rule(csr, CertifyRequest.lifetimeSecondsMax) == nil)
        for lifetime in [0, -1, CertifyRequest.lifetimeSecondsMax + 1, .min, .max] {
            #expect(rule(csr, lifetime) == "lifetimeOutOfRange")
        }
        let long = [UInt8](repeating: 0x30, count: CertifyRequest.csrBytesMax + 1)
        #expect(rule(long) == "csrTooLong")
        #expect(rule([]) == "csrMalformed")
        #expect(rule(Array(csr.dropLast())) == "csrMalformed")
        #expect(rule(csr + [0]) == "csrMalformed")
        // The last byte of the signature.
        var forged = csr
        forged[forged.count - 1] ^= 1
        #expect(rule(forged) == "possessionNotProven")
    }
}
