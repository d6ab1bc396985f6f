// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import Datastore
import FoundationEssentials
import GRPCCore
import NodeSync
import SPIFFE
import SwiftProtobuf
import TestPKI
import Testing

/// Documents of kind FederatedTrustDomain, and the rows that belong to them.
@Suite(.timeLimit(.minutes(1)))
struct FederatedTrustDomainTests {
    private static let kind = "FederatedTrustDomain"
    private static let web = "{type: https_web}"

    /// The URL leads to an address that is refused, and no name server is asked for it: what is
    /// applied is fetched.
    private static func document(
        _ name: String = "partner",
        trustDomain: String = "partner.example",
        url: String = "https://localhost/bundle",
        profile: String = web,
        more: String = ""
    ) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: FederatedTrustDomain
        metadata: {name: \(name)}
        spec:
          trustDomain: \(trustDomain)
          bundleEndpointURL: \(url)
          bundleEndpointProfile: \(profile)
        \(more)

        """
    }

    private static func spiffe(_ id: String) -> String {
        "{type: https_spiffe, endpointSPIFFEID: \"\(id)\"}"
    }

    private static func bundleText(of authority: TestAuthority) throws -> String {
        let document = try authority.bundle.document()
        return "  trustDomainBundle: '\(String(decoding: document, as: UTF8.self))'"
    }

    private func names(_ server: TestServer) async throws -> [String] {
        try await server.core.read { try $0.federatedBundles().map(\.trustDomain.name) }
    }

    /// Writes a row as a fetch does; the one that follows an apply fails, and withholds nothing that
    /// was confirmed now.
    private func fetched(
        _ server: TestServer,
        _ change: @escaping @Sendable (inout FederatedBundleRecord) -> Void
    ) async throws {
        let partner = try TrustDomain("partner.example")
        let version = try await server.documents.get(
            .with { ($0.kind, $0.name) = (Self.kind, "partner") }
        ).documents.first?.resourceVersion
        let isWritten = try await server.core.write { transaction in
            guard var record = try transaction.federatedBundle(of: partner) else { return false }
            record.confirmedAt = Date()
            change(&record)
            return try transaction.update(record, ifDocumentHasVersion: version ?? 0)
        }
        #expect(isWritten)
    }

    @Test func `F-10 bundles go to agents that take them, and are taken away again`() async throws {
        try await withServer { server in
            let agent = try await server.agent("web-1")
            try await server.apply(Self.document())
            let bundle = try TestAuthority.root("partner.example").bundle
            let document = try bundle.document()
            let key = ResourceKey(.federatedBundle, "partner.example")
            try await fetched(server) { $0.document = document }
            try await server.withSync(as: agent) { sync in
                let (_, resources) = try await sync.snapshot()
                #expect(resources[key] == nil)
            }
            let capabilities = [SyncCapability.federation]
            try await server.withSync(as: agent, capabilities: capabilities) { sync in
                let (revision, resources) = try await sync.snapshot()
                sync.acknowledge(revision)
                #expect(resources[key] == .federatedBundle(bundle))
                func told() async throws -> [ResourceChange] {
                    let delta = try await sync.delta()
                    sync.acknowledge(delta.toRevision)
                    return delta.changes.filter { $0.key.type == .federatedBundle }
                }
                try await fetched(server) { $0.isWithheld = true }
                #expect(try await told() == [.remove(key)])
                try await fetched(server) { $0.isWithheld = false }
                #expect(try await told() == [.upsert(key, payload: document)])
                try await server.delete(Self.kind, "partner", namespace: "")
                #expect(try await told() == [.remove(key)])
            }
        }
    }

    @Test func `apply makes a row, an edit keeps it, and a delete takes it away`() async throws {
        try await withServer { server in
            let partner = try TrustDomain("partner.example")
            try await server.apply(Self.document())
            let row = try await server.core.read { try $0.federatedBundle(of: partner) }
            #expect(row?.document == nil && row?.isWithheld == false)
            // As if it had been fetched.
            var fetched = try #require(row)
            fetched.sequenceNumber = 7
            let record = fetched
            let version = try await server.documents.get(
                .with { ($0.kind, $0.name) = (Self.kind, "partner") }
            ).documents.first?.resourceVersion
            let isWritten = try await server.core.datastore.write { transaction in
                try transaction.update(record, ifDocumentHasVersion: version ?? 0)
            }
            #expect(isWritten)
            try await server.apply(Self.document(url: "https://localhost/other"))
            let kept = try await server.core.read { try $0.federatedBundle(of: partner) }
            #expect(kept == record)
            try await server.delete(Self.kind, "partner", namespace: "")
            let left = try await names(server)
            #expect(left.isEmpty)
            try await server.apply(Self.document())
            let again = try await server.core.read { try $0.federatedBundle(of: partner) }
            #expect(again?.documentUID != record.documentUID && again?.sequenceNumber == nil)
        }
    }

    @Test func `a trust domain has one document, which never changes to another`() async throws {
        try await withServer { server in
            try await server.apply(Self.document())
            let taken = await refusal { try await server.apply(Self.document("other")) }
            #expect(taken?.reason == "trustDomainTaken")
            #expect(taken?.message.contains(", partner;") == true, "\(taken?.message ?? "")")
            let changed = await refusal {
                try await server.apply(Self.document(trustDomain: "supplier.example"))
            }
            #expect(changed?.reason == "trustDomainChanged")
            let twice = await refusal {
                try await server.apply(
                    Self.document("a", trustDomain: "a.example")
                        + Self.document("b", trustDomain: "a.example")
                )
            }
            #expect(twice?.reason == "trustDomainTaken")
            let known = try await names(server)
            #expect(known == ["partner.example"])
        }
    }

    @Test func `neither the own trust domain nor an ID of it is federated with`() async throws {
        try await withServer { server in
            let own = await refusal {
                try await server.apply(Self.document(trustDomain: "example.org"))
            }
            #expect(own?.message.contains("spec.trustDomain: example.org is this server's") == true)
            let vouching = await refusal {
                try await server.apply(
                    Self.document(profile: Self.spiffe("spiffe://example.org/signet/bundle"))
                )
            }
            #expect(vouching?.reason == "documentRefused")
        }
    }

    @Test func `there are as many as an entry may name`() async throws {
        try await withServer { server in
            let most = (0..<FederatedBundleRecord.countMax).map {
                Self.document("p\($0)", trustDomain: "p\($0).example")
            }
            try await server.apply(most.joined())
            let more = await refusal { try await server.apply(Self.document()) }
            #expect(more?.reason == "tooManyFederatedTrustDomains")
            // An edit is none more.
            try await server.apply(
                Self.document("p7", trustDomain: "p7.example", url: "https://localhost/")
            )
        }
    }

    @Test func `apply tells who federates from then on`() async throws {
        try await withServer { server in
            let entry = entryDocument(
                "web",
                spiffeID: "spiffe://example.org/web",
                more: "  federatesWith: [partner.example]"
            )
            let early = try await server.apply(entry).warnings
            #expect(
                early == [
                    "RegistrationEntry default/web: no FederatedTrustDomain names partner.example, "
                        + "so the workload gets no bundle of it"
                ]
            )
            let told = try await server.apply(Self.document()).warnings
            #expect(
                told == [
                    "FederatedTrustDomain partner: entries that name partner.example and federate "
                        + "with it from now on: 1"
                ]
            )
            let late = try await server.apply(entry + Self.document()).warnings
            #expect(late.isEmpty, "\(late)")
            let more = entryDocument(
                "db",
                spiffeID: "spiffe://example.org/db",
                more: "  federatesWith: [a.example, b.example]"
            )
            let both = try await server.apply(
                more + Self.document("a", trustDomain: "a.example")
                    + Self.document("b", trustDomain: "b.example")
                    + Self.document("c", trustDomain: "c.example")
            ).warnings
            #expect(
                both
                    == ["a", "b"].map {
                        "FederatedTrustDomain \($0): entries that name \($0).example and federate with "
                            + "it from now on: 1"
                    }
            )
        }
    }

    @Test func `a foreign principal is warned of only if nobody federates with it`() async throws {
        try await withServer { server in
            let policy = policyDocument().replacing(
                "principals: [spiffe://example.org/client]",
                with: "principals: [\"spiffe://partner.example/*\"]"
            )
            let before = try await server.apply(policy).warnings
            #expect(before.count == 1)
            // What comes with it counts, in whatever order.
            let after = try await server.apply(policy + Self.document()).warnings
            #expect(after.isEmpty, "\(after)")
        }
    }

    @Test func `an endpoint of a third trust domain is told of`() async throws {
        try await withServer { server in
            let broker = Self.spiffe("spiffe://broker.example/bundles")
            let warning =
                "FederatedTrustDomain partner: its endpoint is of broker.example: whoever holds that "
                + "trust domain decides who is believed in partner.example"
            let alone = try await server.apply(Self.document(profile: broker)).warnings
            #expect(
                alone == [
                    warning + "; and no FederatedTrustDomain names broker.example, so nothing is "
                        + "fetched yet"
                ]
            )
            let both =
                Self.document(profile: broker)
                + Self.document("broker", trustDomain: "broker.example")
            let told = try await server.apply(both).warnings
            #expect(told == [warning])
        }
    }

    @Test func `a bundle of which no authority is valid is warned of`() async throws {
        try await withServer { server in
            let profile = Self.spiffe("spiffe://partner.example/signet/bundle")
            let valid = try TestAuthority.root("partner.example", now: Date())
            let ended = try TestAuthority.root(
                "partner.example",
                now: Date().addingTimeInterval(-3_650 * 86_400)
            )
            func warnings(_ authority: TestAuthority) async throws -> [String] {
                try await server.apply(
                    Self.document(profile: profile, more: Self.bundleText(of: authority))
                ).warnings
            }
            let untold = try await warnings(valid)
            #expect(untold.isEmpty, "\(untold)")
            let told = try await warnings(ended)
            #expect(told.count == 1)
            #expect(told.first?.contains("no authority of trustDomainBundle is valid") == true)
        }
    }

    @Test func `the kind is granted by name, to all of the cluster`() async throws {
        try await withServer { server in
            try await server.apply(Self.document("first", trustDomain: "first.example"))
            let workload = try await server.workload("partners")
            let other = try await server.workload("others")
            try await server.apply(
                Self.binding("partners", "{verbs: [apply, delete], kinds: [\(Self.kind)]}")
                    + Self.binding("others", "{verbs: [apply], kinds: [RegistrationEntry]}")
            )
            try await server.authenticated(as: try workload.identity) { client in
                let documents = Documents.Client(wrapping: client)
                _ = try await documents.apply(Self.request(Self.document()))
                // With whom else is not for him to see.
                let taken = await refusal {
                    try await documents.apply(
                        Self.request(Self.document("mine", trustDomain: "first.example"))
                    )
                }
                #expect(taken?.reason == "trustDomainTaken")
                #expect(taken?.message.contains(", first;") == false)
                _ = try await documents.delete(
                    .with { $0.keys = [.with { ($0.kind, $0.name) = (Self.kind, "partner") }] }
                )
            }
            try await server.authenticated(as: try other.identity) { client in
                let documents = Documents.Client(wrapping: client)
                let refused = await refusal {
                    try await documents.apply(Self.request(Self.document()))
                }
                #expect(refused?.reason == "adminDenied")
                // Nor does a warning tell.
                for partner in ["first.example", "nobody.example"] {
                    let entry = entryDocument(
                        "shop",
                        spiffeID: "spiffe://example.org/shop",
                        more: "  federatesWith: [\(partner)]"
                    )
                    let warnings = try await documents.apply(Self.request(entry)).warnings
                    #expect(warnings.isEmpty, "\(warnings)")
                }
            }
        }
    }

    private static func binding(_ name: String, _ rule: String) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Role
        metadata: {name: \(name), namespace: signet-system}
        spec:
          rules:
            - \(rule)
        ---
        apiVersion: core.signet/v1alpha1
        kind: RoleBinding
        metadata: {name: \(name), namespace: signet-system}
        spec:
          role: \(name)
          subjects: ["spiffe://example.org/\(name)"]

        """
    }

    private static func request(_ text: String) -> Signet_Admin_V1alpha1_ApplyRequest {
        .with { $0.files = [.with { ($0.name, $0.content) = ("test.yaml", text) }] }
    }
}
