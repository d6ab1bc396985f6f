// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import FoundationEssentials
import GRPCCore
import NodeSync
import SPIFFE
import SwiftProtobuf
import Testing

/// An agent's half of a sync stream, spoken by a test.
final class SyncConversation {
    typealias Message = Signet_Node_V1alpha1_SyncResponse
    typealias Say = AsyncStream<Signet_Node_V1alpha1_SyncRequest>.Continuation

    /// The server's first message.
    fileprivate(set) var welcome = Signet_Node_V1alpha1_Welcome()
    private var messages: RPCAsyncSequence<Message, any Error>.AsyncIterator
    private let say: Say

    init(_ messages: RPCAsyncSequence<Message, any Error>, _ say: Say) {
        self.messages = messages.makeAsyncIterator()
        self.say = say
    }

    /// The next message of any kind; nil at the end of the stream.
    func next() async throws -> Message.OneOf_Message? {
        while let message = try await messages.next(isolation: #isolation) {
            // Checkpoints come when they like.
            if case .checkpoint? = message.message { continue }
            return message.message
        }
        return nil
    }

    /// The next message that carries state, as the agent's machine reads it.
    func nextState() async throws -> SyncMessage {
        let message = Message.with { [next = try await next()] in $0.message = next }
        return try #require(try SyncMessage(parsing: message))
    }

    /// Reads a whole snapshot.
    func snapshot() async throws -> (revision: Revision, resources: [ResourceKey: ResourcePayload])
    {
        guard case .snapshotBegin(let revision) = try await nextState() else {
            throw UnexpectedMessage()
        }
        var resources: [ResourceKey: ResourcePayload] = [:]
        while true {
            switch try await nextState() {
            case .snapshotPage(_, let page):
                for resource in page {
                    resources[resource.key] = try ResourcePayload(resource.key, resource.payload)
                }
            case .snapshotEnd(let count):
                #expect(count == resources.count)
                return (revision, resources)
            default: throw UnexpectedMessage()
            }
        }
    }

    /// Reads a Delta, the next one that changes something.
    func delta() async throws -> SyncDelta {
        while true {
            switch try await nextState() {
            case .delta(let delta): return delta
            case .watermark: continue
            default: throw UnexpectedMessage()
            }
        }
    }

    func acknowledge(_ revision: Revision, refused: [ResourceRefusal] = []) {
        let ack = SyncAcknowledgement(applied: revision, refused: refused)
        say.yield(.with { $0.ack = ack.message })
    }

    func send(_ message: Signet_Node_V1alpha1_SyncRequest) {
        say.yield(message)
    }

    /// Answers the next question for a workload; state that comes before is left aside.
    func explainOnce(
        selectors: [String],
        granting: [Signet_Node_V1alpha1_GrantingEntry] = []
    ) async throws {
        while let message = try await next() {
            guard case .query(let query) = message else { continue }
            guard case .explainWorkload(let asked)? = query.kind else { throw UnexpectedMessage() }
            send(
                .with {
                    $0.queryReply = .with {
                        $0.id = query.id
                        $0.explainWorkload = .with {
                            $0.pid = asked.pid
                            $0.selectors = selectors
                            $0.grantingEntries = granting
                        }
                    }
                }
            )
            return
        }
        throw UnexpectedMessage()
    }

    struct UnexpectedMessage: Error {}
}

extension TestServer {
    /// Opens the agent's sync stream, says Hello, reads the Welcome and runs `body`.
    func withSync<Value: Sendable>(
        as agent: TestAgent,
        have: Revision? = nil,
        capabilities: [String] = [],
        _ body: @escaping @Sendable (SyncConversation) async throws -> Value
    ) async throws -> Value {
        let (requests, say) = AsyncStream.makeStream(of: Signet_Node_V1alpha1_SyncRequest.self)
        say.yield(
            .with {
                $0.hello = .with {
                    if let have { $0.have = have.message }
                    $0.agentVersion = "test"
                    $0.capabilities = capabilities
                }
            }
        )
        return try await authenticated(as: try agent.identity) { client in
            try await Node.Client(wrapping: client).sync(
                requestProducer: { writer in
                    for await request in requests { try await writer.write(request) }
                },
                onResponse: { response in
                    defer { say.finish() }
                    let conversation = SyncConversation(response.messages, say)
                    guard case .welcome(let welcome)? = try await conversation.next() else {
                        throw SyncConversation.UnexpectedMessage()
                    }
                    #expect(welcome.trustDomain == "example.org")
                    conversation.welcome = welcome
                    return try await body(conversation)
                }
            )
        }
    }
}

extension SyncDelta {
    var toRevision: Revision { Revision(epoch: epoch, number: to) }
}
