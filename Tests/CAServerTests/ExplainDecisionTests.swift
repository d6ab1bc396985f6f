// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import NodeSync
import SwiftProtobuf
import Testing

/// What people are told of one decision, by the log and by processes.
extension DecisionStoreTests {
    @Test func `what no proxy remembers comes from the log, and says so`() async throws {
        try await served { server in
            let agent = try await server.agent()
            _ = try await send(segment(1, decisions: 0..<3), as: agent, to: server)
            let found = try await server.administration.explainDecision(.with { $0.id = id(1) })
            #expect(found.id == id(1))
            #expect(found.path == "/rows")
            #expect(found.rules.isEmpty)
            #expect(found.logged.agent == Self.agentID("web-1"))
            #expect(found.logged.proxy == "default/web")
            #expect(found.logged.storedAtUnixMilliseconds > 0)
            let unknown = await refusal {
                try await server.administration.explainDecision(.with { $0.id = id(9) })
            }
            #expect(unknown?.reason == "decisionUnknown")
            // Agents that claim the same decision are both named, and neither is believed.
            let liar = try await server.agent("web-2")
            _ = try await send(segment(1, decisions: 1..<2), as: liar, to: server)
            let claimed = await refusal {
                try await server.administration.explainDecision(.with { $0.id = id(1) })
            }
            #expect(claimed?.reason == "decisionAmbiguous")
            #expect(claimed?.message.contains("agent/web-1 says that default/web denied") == true)
            #expect(claimed?.message.contains("agent/web-2 says that default/web denied") == true)
        }
    }

    @Test func `nobody learns the name of a Proxy that he may not read`() async throws {
        try await served { server in
            try await server.applyReader()
            let reader = try await server.workload("reader")
            let (one, two) = (try await server.agent(), try await server.agent("web-2"))
            _ = try await send(segment(1, decisions: 0..<2), as: one, to: server)
            let hidden = segment(1, decisions: 1..<3, proxy: "hidden/web")
            _ = try await send(hidden, as: two, to: server)
            try await server.authenticated(as: try reader.identity) { client in
                let administration = Administration.Client(wrapping: client)
                let own = try await administration.explainDecision(.with { $0.id = id(0) })
                #expect(own.logged.proxy == "default/web")
                let claimed = await refusal {
                    try await administration.explainDecision(.with { $0.id = id(1) })
                }
                #expect(claimed?.reason == "decisionAmbiguous")
                #expect(claimed?.message.contains("default/web") == true)
                #expect(claimed?.message.contains("hidden") == false)
                #expect(claimed?.message.contains("agent/web-2") == false)
                let foreign = await refusal {
                    try await administration.explainDecision(.with { $0.id = id(2) })
                }
                #expect(foreign?.reason == "adminDenied")
                #expect(foreign?.message.contains("hidden") == false)
            }
            // Who may read all is told of all.
            let all = await refusal {
                try await server.administration.explainDecision(.with { $0.id = id(1) })
            }
            #expect(all?.message.contains("hidden/web") == true)
        }
    }

    private func attached(_ proxy: String = "default/web") -> Signet_Node_V1alpha1_SyncRequest {
        .with {
            $0.proxyReport.proxies = [
                .with {
                    ($0.proxy, $0.attached) = (proxy, true)
                    $0.instance = Data(Self.instance)
                }
            ]
        }
    }

    private func isAttached(_ count: Int, to server: TestServer) async throws {
        try await eventually("the report is read") {
            server.core.hub.proxies { $0.instance == Self.instance }.count == count
        }
    }

    @Test func `who takes the instance of another process is not asked for what it recorded`()
        async throws
    {
        let capabilities = [SyncCapability.proxy]
        try await served { server in
            try await server.putProxy()
            let maker = try await server.agent("web-1", selectors: ["role:web"])
            let liar = try await server.agent("web-2", selectors: ["role:web"])
            _ = try await send(segment(1, decisions: 0..<2), as: maker, to: server)
            try await server.withSync(as: liar, capabilities: capabilities) { lies in
                lies.send(attached())
                try await isAttached(1, to: server)
                let left = try await server.administration.explainDecision(.with { $0.id = id(1) })
                #expect(left.logged.agent == Self.agentID("web-1"))
                #expect(!left.hasToldBy)
                // The maker is there as well: it tells its rules.
                try await server.withSync(as: maker, capabilities: capabilities) { sync in
                    sync.send(attached())
                    try await isAttached(2, to: server)
                    func explained(
                        _ change: (inout Signet_Node_V1alpha1_DecisionExplanation) -> Void
                    ) async throws -> Signet_Node_V1alpha1_DecisionExplanation {
                        async let found = server.administration.explainDecision(
                            .with { $0.id = id(1) }
                        )
                        try await sync.answerProxy { _ in
                            .with {
                                $0.decision = record(1).decision
                                $0.decision.rules = [.with { $0.policy = "db" }]
                                $0.decision.logged.agent = "spiffe://example.org/made/up"
                                change(&$0.decision)
                            }
                        }
                        return try await found
                    }
                    let same = try await explained { $0.timeUnixMilliseconds += 1 }
                    #expect(same.logged.agent == Self.agentID("web-1"))
                    #expect(same.toldBy.agent == Self.agentID("web-1"))
                    #expect(same.toldBy.contradiction.isEmpty)
                    #expect(same.rules.map(\.policy) == ["db"])
                    let other = try await explained { $0.allowed = true }
                    #expect(!other.allowed)
                    #expect(other.rules.isEmpty)
                    #expect(other.toldBy.contradiction.contains("it allowed spiffe://"))
                    // Without a record nobody is believed.
                    let claimed = await refusal {
                        try await server.administration.explainDecision(.with { $0.id = id(9) })
                    }
                    #expect(claimed?.reason == "decisionAmbiguous")
                }
            }
        }
    }

    @Test func `a process of a Proxy that the caller may not read hides nothing from him`()
        async throws
    {
        let capabilities = [SyncCapability.proxy]
        try await served { server in
            try await server.putProxy()
            try await server.putProxy(namespace: "hidden", id: "uid-hidden")
            try await server.applyReader()
            let reader = try await server.workload("reader")
            let maker = try await server.agent("web-1", selectors: ["role:web"])
            let liar = try await server.agent("web-2", selectors: ["role:web"])
            _ = try await send(segment(1), as: maker, to: server)
            try await server.withSync(as: liar, capabilities: capabilities) { lies in
                lies.send(attached("hidden/web"))
                try await isAttached(1, to: server)
                try await server.authenticated(as: try reader.identity) { client in
                    let administration = Administration.Client(wrapping: client)
                    let logged = try await administration.explainDecision(.with { $0.id = id(0) })
                    #expect(logged.logged.agent == Self.agentID("web-1"))
                    let foreign = await refusal {
                        try await administration.explainDecision(.with { $0.id = id(9) })
                    }
                    #expect(foreign?.reason == "adminDenied")
                    // Of two processes the one that he may read is asked.
                    try await server.withSync(as: maker, capabilities: capabilities) { sync in
                        sync.send(attached())
                        try await isAttached(2, to: server)
                        async let found = administration.explainDecision(.with { $0.id = id(9) })
                        try await sync.answerProxy { _ in
                            .with { $0.decision = record(9).decision }
                        }
                        let told = try await found
                        #expect(told.toldBy.agent == Self.agentID("web-1"))
                        #expect(told.toldBy.proxy == "default/web")
                        #expect(told.toldBy.contradiction.contains("may not read"))
                        #expect(!told.toldBy.contradiction.contains("hidden"))
                    }
                }
            }
        }
    }
}

extension TestServer {
    /// Lets the workload `reader` read the Proxies of namespace `default`.
    fileprivate func applyReader() async throws {
        try await apply(
            """
            apiVersion: core.signet/v1alpha1
            kind: Role
            metadata: {name: reader, namespace: default}
            spec:
              rules:
                - verbs: [get]
                  kinds: [Proxy]
            ---
            apiVersion: core.signet/v1alpha1
            kind: RoleBinding
            metadata: {name: readers, namespace: default}
            spec:
              role: reader
              subjects: [spiffe://example.org/reader]

            """
        )
    }
}
