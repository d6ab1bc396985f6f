// SPDX-License-Identifier: Apache-2.0

import Authorization
import CAServer
import ControlAPI
import ControlAPIProtos
import Crypto
import Foundation
import GRPCCore
import GRPCPeer
import SPIFFE
import SwiftProtobuf
import Testing

typealias Approvals = Signet_Admin_V1alpha1_Approvals
typealias Proposal = Signet_Admin_V1alpha1_Proposal
typealias ApplyAnswer = Signet_Admin_V1alpha1_ApplyResponse
typealias ApproveAnswer = Signet_Admin_V1alpha1_ApproveProposalResponse

/// A data directory, and persons who administer over the network, each from a node of his own.
///
/// They are made by a server that asks for no approvals, and come to the servers that a test then
/// runs on the same data.
struct ApprovalHarness: Sendable {
    let directory: TestDirectory
    let persons: [String: TestAgent]

    /// - Parameters:
    ///   - names: Who is there; each is `spiffe://example.org/NAME`.
    ///   - prepare: What is there before anything needs approval.
    /// - Throws: What the server of before throws.
    init(
        _ names: [String] = ["alice", "bob", "carol"],
        prepare: @escaping (TestServer) async throws -> Void = { _ in }
    ) async throws {
        let directory = try TestDirectory()
        self.directory = directory
        persons = try await withServer(in: directory) { server in
            var persons: [String: TestAgent] = [:]
            for name in names { persons[name] = try await server.workload(name) }
            try await prepare(server)
            return persons
        }
    }

    private init(directory: TestDirectory, persons: [String: TestAgent]) {
        self.directory = directory
        self.persons = persons
    }

    /// The same with others, all from one node.
    func adding(_ names: [String], onNode node: String) async throws -> Self {
        let added = try await withServer(in: directory) { server in
            let agent = try await server.agent(node, selectors: ["role:\(node)"])
            var added: [String: TestAgent] = [:]
            for name in names {
                let entry = try await server.register(name, node: "role:\(node)")
                let key = P256.Signing.PrivateKey()
                let csr = try certificateRequest(key)
                let request = Signet_Node_V1alpha1_SignX509SVID.with {
                    $0.entryID = entry
                    $0.spiffeID = Self.id(name)
                    $0.csr = Data(csr)
                }
                let result = try #require(try await server.sign([request], as: agent).first)
                added[name] = TestAgent(
                    name: name,
                    key: key,
                    chain: result.signed.certificateChain.map { Array($0) }
                )
            }
            return added
        }
        return Self(directory: directory, persons: persons.merging(added) { $1 })
    }

    static func id(_ name: String) -> String { "spiffe://example.org/\(name)" }

    /// Serves while `body` runs; those named have every right.
    func serve<Value: Sendable>(
        needed: Int = 1,
        admins: [String] = ["alice", "bob", "carol"],
        _ body: (TestServer) async throws -> Value
    ) async throws -> Value {
        let patterns = try admins.map { try ActorPattern(Self.id($0)) }
        return try await withServer(
            in: directory,
            { configuration in
                configuration.approvals = needed
                configuration.admins += patterns
            },
            body
        )
    }

    /// Calls as a person.
    func acting<Value: Sendable>(
        as name: String,
        on server: TestServer,
        _ body: (GRPCClient<Transport>) async throws -> Value
    ) async throws -> Value {
        let person = try #require(persons[name])
        return try await server.authenticated(as: try person.identity, body)
    }

    func apply(
        _ text: String,
        as name: String,
        on server: TestServer,
        isDryRun: Bool = false,
        pruneOwner: String = "",
        takesProposal: Bool = true
    ) async throws -> ApplyAnswer {
        try await acting(as: name, on: server) { client in
            try await Documents.Client(wrapping: client).apply(
                .with {
                    $0.files = [.with { ($0.name, $0.content) = ("test.yaml", text) }]
                    $0.dryRun = isDryRun
                    $0.pruneOwner = pruneOwner
                    $0.takesProposal = takesProposal
                }
            )
        }
    }

    func approve(
        _ proposal: Proposal,
        as name: String,
        on server: TestServer
    ) async throws -> ApproveAnswer {
        try await acting(as: name, on: server) { client in
            try await Approvals.Client(wrapping: client).approve(
                .with { ($0.id, $0.sha256) = (proposal.id, proposal.sha256) }
            )
        }
    }

    /// What a person sees of what waits.
    func list(as name: String, on server: TestServer) async throws -> [Proposal] {
        try await acting(as: name, on: server) { client in
            try await Approvals.Client(wrapping: client).list(.init()).proposals
        }
    }

    func show(
        _ proposal: Proposal,
        as name: String,
        on server: TestServer
    ) async throws -> Signet_Admin_V1alpha1_GetProposalResponse {
        try await acting(as: name, on: server) { client in
            try await Approvals.Client(wrapping: client).get(.with { $0.id = proposal.id })
        }
    }
}

/// A Role in `signet-system` with one verb; more of its rule may follow that.
func roleDocument(_ name: String, verb: String = "bundle.show", owner: String? = nil) -> String {
    """
    ---
    apiVersion: core.signet/v1alpha1
    kind: Role
    metadata:
      name: \(name)
      namespace: signet-system
    \(owner.map { "  labels: {signet/owner: \($0)}" } ?? "")
    spec:
      rules:
        - {verbs: [\(verb)]}

    """
}

/// A binding in `signet-system` of a role of the same name.
func bindingDocument(_ name: String, role: String? = nil, subject: String) -> String {
    """
    ---
    apiVersion: core.signet/v1alpha1
    kind: RoleBinding
    metadata: {name: \(name), namespace: signet-system}
    spec:
      role: \(role ?? name)
      subjects: [\(subject)]

    """
}

extension TestServer {
    /// The Roles there are, by name.
    func roles() async throws -> [String] {
        try await documents.get(.with { ($0.kind, $0.namespace) = ("Role", "signet-system") })
            .documents.map(\.key.name).sorted()
    }
}
