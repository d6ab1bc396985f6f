// SPDX-License-Identifier: Apache-2.0

internal import HTTPCodec
internal import HTTPSemantics

/// A client and a server, joined by two relays: bytes mean the same however they arrive, and
/// nothing is passed on out of its turn.
///
/// The first byte says how much of the rest is the client's, the second how it is cut; both walks,
/// cut and whole, come to the same. A zero byte separates the server's answers.
enum HTTPRelayProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard input.count >= 2 else { return false }
        let rest = Array(input[2...])
        let split = rest.count * Int(input[0]) / 255
        let (client, server) = (Array(rest[..<split]), Array(rest[split...]))
        let whole = try walk(client, server, piece: max(1, rest.count))
        let cut = try walk(client, server, piece: 1 + Int(input[1] & 31))
        try expect(whole == cut, "\(whole) in pieces: \(cut)")
        return whole.answers > 0
    }

    private struct Outcome: Equatable {
        var toServer: [UInt8] = []
        var toClient: [UInt8] = []
        var answers = 0
        var end = ""
    }

    /// Each request is passed on whole before its answer is looked at.
    private static func walk(
        _ client: [UInt8],
        _ server: [UInt8],
        piece: Int
    ) throws(PropertyBroken) -> Outcome {
        var (request, requestHead) = (RequestRelay(), RequestHead())
        var (response, outcome) = (ResponseRelay(), Outcome())
        var (arrived, used) = (0, 0)
        var answers = server.split(separator: 0, omittingEmptySubsequences: false)[...]
        while true {
            let input = client.span.extracting(..<arrived)
            let step = request.next(input, from: used, using: &requestHead)
            switch step {
            case .needInput:
                guard arrived < client.count else {
                    outcome.end = "\(request.inputEnded())"
                    return outcome
                }
                arrived = min(client.count, arrived + piece)
            case .head(let count):
                guard response.begin(request.traits) else {
                    outcome.end = "server gone"
                    return outcome
                }
                let bytes = client.span.extracting(used..<(used + count))
                let id = RequestID(high: 0, low: 0)
                RequestRewrite(identity: nil)
                    .write(requestHead, bytes, requestID: id, into: &outcome.toServer)
                used += count
            case .body(let count):
                outcome.toServer += client[used..<(used + count)]
                used += count
            case .complete:
                response.requestWritten()
                let isAnswered = try answer(
                    Array(answers.popFirst() ?? []),
                    piece,
                    &response,
                    &outcome
                )
                let keeps = response.clientConnection != .ends
                guard isAnswered, request.answerEnded(keepsConnection: keeps) else {
                    outcome.end += " no more"
                    return outcome
                }
            case .refused, .closed:
                outcome.end = "\(step)"
                return outcome
            }
        }
    }

    /// - Returns: Whether the answer is through.
    private static func answer(
        _ server: [UInt8],
        _ piece: Int,
        _ relay: inout ResponseRelay,
        _ outcome: inout Outcome
    ) throws(PropertyBroken) -> Bool {
        var (head, arrived, used) = (ResponseHead(), 0, 0)
        while true {
            let step = relay.next(server.span.extracting(..<arrived), from: used, using: &head)
            switch step {
            case .needInput:
                guard arrived < server.count else {
                    outcome.end = "\(relay.inputEnded())"
                    return false
                }
                arrived = min(server.count, arrived + piece)
            case .head(let count), .interim(let count), .upgraded(let count):
                let bytes = server.span.extracting(used..<(used + count))
                ResponseRewrite(removesDecision: true)
                    .write(head, bytes, for: relay, into: &outcome.toClient)
                used += count
            case .body(let count):
                outcome.toClient += server[used..<(used + count)]
                used += count
            case .skipped(let count): used += count
            case .complete:
                outcome.answers += 1
                // Whether more has arrived by then depends on the pieces, and so does reuse.
                if relay.isServerReusable { return used == server.count }
                return false
            case .refused, .closed:
                outcome.end = "\(step)"
                return false
            }
        }
    }
}
