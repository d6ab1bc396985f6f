// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics
import TestSeeds
import Testing

/// Bytes mean the same however they arrive, and two relays never pass on what is not in its turn.
@Suite struct RelayWalkTests {
    private static let requests = [
        "GET /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nX-A: b\r\n\r\n",
        "POST /p/%20 HTTP/1.1\r\nHost: a:81\r\nContent-Length: 5\r\nConnection: te\r\n\r\nhello",
        "PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: [::1]\r\n\r\n3\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n",
        "\r\nGET http://a.example/ HTTP/1.1\r\nHost: A.EXAMPLE\r\n\r\n",
        "HEAD / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ]
    private static let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0a\r\n0123456789\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
        "HTTP/1.1 204 No Content\r\nKeep-Alive: x\r\n\r\n",
    ]
    private static let pieces = [
        "\r", "\n", "\r\n", " ", ":", "\u{0}", "0\r\n\r\n", ";x", "x", "\r\n\r\n", "GET /", "ffff",
        "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "HTTP/1.1 ", "100", "304",
    ]

    private func mutated(
        _ messages: [String],
        count: Int,
        using generator: inout SeededGenerator
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<count { bytes += (messages.randomElement(using: &generator) ?? "").utf8 }
        for _ in 0..<Int.random(in: 0...2, using: &generator) {
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: bytes.remove(at: place)
            case 1: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            default:
                let piece = Self.pieces.randomElement(using: &generator) ?? ""
                bytes.insert(contentsOf: piece.utf8, at: place)
            }
        }
        return bytes
    }

    private func cuts(_ count: Int, using generator: inout SeededGenerator) -> [Int] {
        (0..<Int.random(in: 1...6, using: &generator))
            .map { _ in Int.random(in: 0...count, using: &generator) }.sorted()
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `requests cut anywhere are the same requests`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var completed = 0
        for _ in 0..<40 {
            let bytes = mutated(Self.requests, count: 3, using: &generator)
            let whole = RelayScript.requests(bytes)
            completed += whole.steps.count { $0.hasPrefix("complete") }
            for cut in 0...bytes.count {
                let parts = RelayScript.requests(bytes, cuts: [cut])
                #expect(parts == whole, "seed \(seed), cut \(cut)")
            }
            let many = cuts(bytes.count, using: &generator)
            #expect(RelayScript.requests(bytes, cuts: many) == whole, "seed \(seed), \(many)")
            let single = RelayScript.requests(bytes, cuts: Array(0..<bytes.count))
            #expect(single == whole, "seed \(seed), byte by byte")
        }
        #expect(completed > 20)
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `an answer cut anywhere is the same answer`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let clients = Self.requests.prefix(5).map(RelayScript.traits)
        var completed = 0
        for _ in 0..<60 {
            let bytes = mutated(Self.responses, count: 1, using: &generator)
            let traits = clients.randomElement(using: &generator) ?? .unknown
            let whole = RelayScript.response(bytes, to: traits, ends: true)
            completed += whole.outcome.steps.count { $0.hasPrefix("complete") }
            for cut in 0...bytes.count {
                let parts = RelayScript.response(bytes, to: traits, cuts: [cut], ends: true)
                #expect(parts.outcome == whole.outcome, "seed \(seed), cut \(cut)")
                #expect(parts.relay.clientConnection == whole.relay.clientConnection)
            }
        }
        #expect(completed > 10)
    }

    /// Two relays as a proxy joins them; what is not in its turn is recorded.
    private struct Pair {
        let client: [UInt8]
        let server: [UInt8]
        var request = RequestRelay()
        var response = ResponseRelay()
        var requestHead = RequestHead()
        var responseHead = ResponseHead()
        var clientArrived = 0
        var clientUsed = 0
        var serverArrived = 0
        var serverUsed = 0
        var isAsked = false
        var answers = 0
        var isOver = false
        var problem: String?

        mutating func readClient() {
            let arrived = Array(client[..<clientArrived])
            while !isOver {
                switch request.next(arrived.span, from: clientUsed, using: &requestHead) {
                case .needInput, .complete: return
                case .head(let count):
                    if isAsked { problem = "a request before the answer to the last" }
                    clientUsed += count
                    isAsked = response.begin(request.traits)
                    // The server's connection is gone; another one takes its place.
                    if !isAsked {
                        (response, serverUsed) = (ResponseRelay(), serverArrived)
                        isAsked = response.begin(request.traits)
                    }
                case .body(let count):
                    if !isAsked { problem = "a body that nobody waits for" }
                    clientUsed += count
                case .refused, .closed:
                    isOver = true
                    if request.answerEnded(keepsConnection: true) { problem = "kept, refused" }
                }
            }
        }

        mutating func readServer() {
            guard isAsked else { return }
            let arrived = Array(server[..<serverArrived])
            while isAsked, !isOver {
                switch response.next(arrived.span, from: serverUsed, using: &responseHead) {
                case .needInput: return
                case .interim(let count), .head(let count), .skipped(let count), .body(let count):
                    serverUsed += count
                case .complete:
                    answers += 1
                    isAsked = false
                    let isThrough = request.isComplete
                    let keeps = response.clientConnection != .ends
                    let isKept = request.answerEnded(keepsConnection: keeps)
                    if isKept && !isThrough { problem = "a client kept inside a body" }
                    if response.isServerReusable && response.isEarly { problem = "early, reused" }
                    isOver = isOver || !isKept
                case .upgraded: problem = "an upgrade that nobody asked for"
                case .refused, .closed: isOver = true
                }
            }
        }

        /// Tells that the request was written, once it is.
        mutating func write() {
            if isAsked, request.isComplete { response.requestWritten() }
        }
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `a walk through two relays keeps every turn`(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var pair = Pair(
            client: mutated(Self.requests, count: 6, using: &generator),
            server: mutated(Self.responses, count: 8, using: &generator)
        )
        for _ in 0..<200 where !pair.isOver {
            let step = Int.random(in: 1...40, using: &generator)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0:
                pair.clientArrived = min(pair.client.count, pair.clientArrived + step)
                pair.readClient()
            case 1:
                // A server that speaks unasked is another test's.
                guard pair.isAsked else { continue }
                pair.serverArrived = min(pair.server.count, pair.serverArrived + step)
                pair.readServer()
                pair.readClient()
            default: pair.write()
            }
            #expect(pair.problem == nil, "seed \(seed)")
            #expect(pair.request.requestCount >= UInt64(pair.answers))
            #expect(pair.clientUsed <= pair.clientArrived && pair.serverUsed <= pair.serverArrived)
        }
        // And after the end of both sides nothing begins again.
        _ = pair.request.inputEnded()
        _ = pair.response.inputEnded()
        #expect(pair.request.answerEnded(keepsConnection: true) == false)
        #expect(pair.response.begin(.unknown) == false)
    }
}
