// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Foundation
import SPIFFE
import Testing

/// How agents read the keys for JWT-SVIDs in a bundle (docs/decisions/0017-jwt-keys-and-services.md).
@Suite(.timeLimit(.minutes(2)))
struct TokenBundleTests {
    private typealias Message = Signet_Node_V1alpha1_TrustBundle

    /// A bundle of two authorities as it travels.
    private static func message() async throws -> Message {
        try await withServer { server in
            _ = try await server.administration.prepareAuthority(.init())
            let bundle = try await server.core.read { try SyncContent.bundle(in: $0) }
            return try #require(bundle).message
        }
    }

    private static func problem(
        _ message: Message,
        _ change: (inout Message) -> Void
    ) -> String? {
        var changed = message
        change(&changed)
        do throws(WireError) {
            _ = try TrustBundle(parsing: changed)
            return nil
        } catch {
            return "\(error)"
        }
    }

    @Test func `keys belong to authorities of the bundle, one to each`() async throws {
        let message = try await Self.message()
        let bundle = try TrustBundle(parsing: message)
        #expect(bundle.jwtAuthorities.count == 2 && bundle.message == message)
        #expect(Set(bundle.jwtAuthorities.map(\.authorityKeyID)).count == 2)
        let orphan = Self.problem(message) { $0.x509Authorities.removeLast() }
        #expect(orphan?.contains("an authority that the bundle does not have") == true)
        let twice = Self.problem(message) { $0.jwtAuthorities.append($0.jwtAuthorities[0]) }
        #expect(twice?.contains("two keys") == true)
        let same = Self.problem(message) {
            $0.jwtAuthorities[1].subjectPublicKeyInfo = $0.jwtAuthorities[0].subjectPublicKeyInfo
        }
        #expect(same?.contains("twice") == true)
        let many = Self.problem(message) {
            $0.jwtAuthorities = Array(repeating: $0.jwtAuthorities[0], count: 65)
        }
        #expect(many?.contains("64") == true, "\(many ?? "")")
    }

    @Test func `keys of authorities that another one certified need these beside them`()
        async throws
    {
        var message = try await Self.message()
        message.x509Intermediates = [message.x509Authorities.removeLast()]
        let bundle = try TrustBundle(parsing: message)
        #expect(bundle.jwtAuthorities.count == 2 && bundle.message == message)
        #expect(bundle.withoutJWTAuthorities.keepingJWTAuthorities(of: bundle) == bundle)
        let orphan = Self.problem(message) { $0.x509Intermediates = [] }
        #expect(orphan?.contains("an authority that the bundle does not have") == true)
        // What agents get that know no such authorities can be read without them.
        let old = try TrustBundle(parsing: bundle.withoutIntermediates.message)
        #expect(old.x509Authorities == bundle.x509Authorities && old.x509Intermediates.isEmpty)
        #expect(old.jwtAuthorities == [bundle.jwtAuthorities[0]])
        #expect(bundle.anchorsOnly == old.withoutJWTAuthorities)
        let many = Self.problem(message) {
            $0.x509Intermediates = Array(repeating: $0.x509Intermediates[0], count: 65)
        }
        #expect(many?.contains("bundle.x509_intermediates") == true, "\(many ?? "")")
    }

    @Test func `what is not known here is left out, and takes nothing else away`() async throws {
        let message = try await Self.message()
        var changed = message
        changed.jwtAuthorities[0].algorithm = "EdDSA"
        #expect(try TrustBundle(parsing: changed).jwtAuthorities.count == 1)
        changed = message
        changed.jwtAuthorities[0].algorithm = "RS256"
        #expect(try TrustBundle(parsing: changed).jwtAuthorities.count == 1)
        changed = message
        changed.jwtAuthorities[0].subjectPublicKeyInfo = Data([0x30, 0x00])
        #expect(try TrustBundle(parsing: changed).jwtAuthorities.count == 1)
        // The authority is of a kind that cannot be read here; so its key may be.
        changed = message
        changed.x509Authorities[0] = Data([0x30, 0x00])
        let partly = try TrustBundle(parsing: changed)
        #expect(partly.x509Authorities.count == 2 && partly.jwtAuthorities.count == 1)
    }

    @Test func `a bundle that came otherwise keeps the keys of the authorities it has`()
        async throws
    {
        let message = try await Self.message()
        let known = try TrustBundle(parsing: message)
        let newer = known.withoutJWTAuthorities
        #expect(newer.jwtAuthorities.isEmpty)
        #expect(newer.keepingJWTAuthorities(of: known) == known)
        var fewer = message
        fewer.x509Authorities.removeLast()
        fewer.jwtAuthorities = []
        let left = try TrustBundle(parsing: fewer).keepingJWTAuthorities(of: known)
        #expect(left.jwtAuthorities == [known.jwtAuthorities[0]])
        let foreign = TrustBundle(
            trustDomain: try TrustDomain("other.example"),
            x509Authorities: known.x509Authorities,
            x509Intermediates: [],
            sequenceNumber: 1,
            refreshHintSeconds: 300
        )
        #expect(foreign.keepingJWTAuthorities(of: known).jwtAuthorities.isEmpty)
    }
}
