// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import Testing

/// The answers of the proxy itself.
@Suite struct GeneratedResponseTests {
    private static let responses = GeneratedResponses()

    private func traits(_ request: String) throws -> RequestTraits {
        let bytes = Array("\(request)\r\nHost: a\r\n\r\n".utf8)
        var (head, end) = (RequestHead(), HeadEnd())
        try #require(head.read(bytes.span, end: &end) == .head(bytes: bytes.count))
        return RequestTraits(head)
    }

    private func answer(
        _ status: GeneratedStatus,
        to request: RequestTraits,
        refusal: HTTPRefusal? = nil,
        decision: DecisionID? = nil,
        connection: ClientConnection = .stays
    ) -> String {
        var output: [UInt8] = []
        Self.responses.write(
            status,
            to: request,
            refusal: refusal,
            decision: decision,
            connection: connection,
            into: &output
        )
        return String(decoding: output, as: UTF8.self)
    }

    @Test func `a denial names its decision and nothing else`() throws {
        let decision = DecisionID(instance: 0, revision: 0, worker: 0, count: 0)
        #expect(
            answer(.forbidden, to: try traits("GET / HTTP/1.1"), decision: decision)
                == """
                HTTP/1.1 403 Forbidden\r
                content-type: text/plain; charset=utf-8\r
                content-length: 64\r
                x-signet-decision: aaaaaaaaaaaaaaaaaaaaaaaaaa\r
                \r
                The request is not allowed.
                decision aaaaaaaaaaaaaaaaaaaaaaaaaa

                """
        )
    }

    @Test(arguments: GeneratedStatus.allCases)
    func `every answer reads as one whole answer`(status: GeneratedStatus) throws {
        let request = try traits("GET / HTTP/1.1")
        let decision = DecisionID(instance: 1, revision: 2, worker: 3, count: 4)
        for (refusal, decision) in [(nil, nil), (nil, decision), (HTTPRefusal.pathByte, nil)] {
            let bytes = Array(
                answer(
                    status,
                    to: request,
                    refusal: refusal,
                    decision: decision,
                    connection: .ends
                ).utf8
            )
            var (relay, head) = (ResponseRelay(), ResponseHead())
            #expect(relay.begin(request) == true)
            relay.requestWritten()
            guard case .head(let count) = relay.next(bytes.span, from: 0, using: &head) else {
                Issue.record("no head")
                return
            }
            #expect(head.status == status.code)
            #expect(!head.isKeptAlive)
            let body = relay.next(bytes.span, from: count, using: &head)
            #expect(body == .body(bytes: bytes.count - count))
            #expect(relay.next(bytes.span, from: bytes.count, using: &head) == .complete)
        }
    }

    @Test func `an answer to HEAD has no body`() throws {
        let whole = answer(.notFound, to: try traits("GET / HTTP/1.1"))
        let head = answer(.notFound, to: try traits("HEAD / HTTP/1.1"))
        #expect(whole.hasPrefix(head) && head.hasSuffix("\r\n\r\n") && whole != head)
    }

    @Test(arguments: HTTPRefusal.allCases)
    func `a refusal is answered with its status and its word`(refusal: HTTPRefusal) {
        let status = GeneratedStatus(refusal)
        #expect(status.code == refusal.status)
        let text = answer(status, to: .unknown, refusal: refusal, connection: .ends)
        #expect(text.hasSuffix("\nrule \(refusal.reason)\n"))
        #expect(text.contains("\r\nconnection: close\r\n"))
        #expect(text.contains("\r\nallow: ") == (refusal == .connect))
    }
}
