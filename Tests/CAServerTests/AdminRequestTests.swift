// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import SwiftProtobuf
import Testing

/// What an admin writes wrongly is named; what he may write in several ways is understood.
@Suite(.timeLimit(.minutes(1)))
struct AdminRequestTests {
    private static let namespace = """
        apiVersion: core.signet/v1alpha1
        kind: Namespace
        metadata: {name: shop}

        """

    @Test func `a slip in a request for a token is named`() async throws {
        try await withServer { server in
            let selector = await refusal {
                try await server.administration.createToken(
                    .with { ($0.agentName, $0.nodeSelectors) = ("web", ["role"]) }
                )
            }
            #expect(selector?.kind == .invalidArgument)
            #expect(selector?.reason == "wire")
            #expect(selector?.message.contains("type:value") == true)
            let address = await refusal {
                try await server.administration.createToken(
                    .with { ($0.agentName, $0.serverAddresses) = ("web", ["ca"]) }
                )
            }
            #expect(address?.kind == .invalidArgument)
            #expect(address?.message.contains("\"ca\" is not host:port") == true)
        }
    }

    @Test func `a token without any server address is refused with the remedy`() async throws {
        try await withServer {
            $0.advertise = []
        } _: { server in
            let error = await refusal {
                try await server.administration.createToken(.with { $0.agentName = "web" })
            }
            #expect(error?.kind == .invalidArgument)
            let remedy = "add --server-address HOST:8081, or set advertise in server.yaml"
            #expect(error?.message.hasSuffix(remedy) == true)
        }
    }

    @Test func `kinds are known in any case, and a slip gets a suggestion`() async throws {
        try await withServer { server in
            _ = try await server.documents.apply(
                .with { $0.files = [.with { ($0.name, $0.content) = ("a", Self.namespace) }] }
            )
            // A kind of the whole cluster has no namespace, whatever a client says by default.
            let key = Signet_Admin_V1alpha1_DocumentKey.with {
                ($0.kind, $0.namespace, $0.name) = ("namespace", "default", "shop")
            }
            let history = try await server.documents.history(.with { $0.key = key })
            #expect(history.documents.first?.key.kind == "Namespace")
            _ = try await server.documents.delete(.with { $0.keys = [key] })
            var slip = key
            slip.kind = "Namspace"
            let error = await refusal {
                try await server.documents.delete(.with { $0.keys = [slip] })
            }
            #expect(error?.reason == "kindUnknown")
            #expect(error?.message.contains("did you mean \"Namespace\"?") == true)
            slip = key
            slip.group = "other.group"
            let group = await refusal {
                try await server.documents.history(.with { $0.key = slip })
            }
            #expect(group?.reason == "groupUnknown")
        }
    }
}
