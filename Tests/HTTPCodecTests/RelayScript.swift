// SPDX-License-Identifier: Apache-2.0

import HTTPCodec
import HTTPSemantics

/// Runs relays over bytes that arrive in pieces, as a shell would, and tells what came of it.
enum RelayScript {
    /// What a whole input comes to, however it was cut.
    struct Outcome: Equatable, CustomStringConvertible {
        /// What was passed on.
        var output: [UInt8] = []
        /// The steps without their sizes, runs of the same step as one.
        var steps: [String] = []
        var used = 0

        mutating func note(_ step: String) {
            if step != "body" || steps.last != "body" { steps.append(step) }
        }

        var description: String {
            "\(steps) \(String(decoding: output, as: UTF8.self).debugDescription) \(used)"
        }
    }

    /// The client's side alone; every request is answered as soon as it is whole.
    static func requests(
        _ input: [UInt8],
        cuts: [Int] = [],
        limits: MessageLimits = .defaults
    ) -> Outcome {
        var (relay, head, outcome) = (RequestRelay(limits: limits), RequestHead(), Outcome())
        let rewrite = RequestRewrite(identity: nil)
        for end in cuts + [input.count] {
            let arrived = input.span.extracting(..<end)
            arriving: while true {
                switch relay.next(arrived, from: outcome.used, using: &head) {
                case .needInput: break arriving
                case .head(let count):
                    outcome.note("head \(relay.traits.method) \(relay.traits.framing)")
                    let bytes = arrived.extracting(outcome.used..<(outcome.used + count))
                    let id = RequestID(high: 0, low: 0)
                    rewrite.write(head, bytes, requestID: id, into: &outcome.output)
                    outcome.used += count
                case .body(let count):
                    outcome.note("body")
                    outcome.output += input[outcome.used..<(outcome.used + count)]
                    outcome.used += count
                case .complete:
                    outcome.note("complete \(relay.bodyBytes)")
                    if !relay.answerEnded(keepsConnection: true) {
                        outcome.note("closed")
                        return outcome
                    }
                case .refused(let refusal):
                    outcome.note("refused \(refusal)")
                    return outcome
                case .closed:
                    outcome.note("closed")
                    return outcome
                }
            }
        }
        return outcome
    }

    /// The server's side alone: the answer to one request, perhaps with the end of its connection.
    static func response(
        _ input: [UInt8],
        to request: RequestTraits,
        cuts: [Int] = [],
        isWritten: Bool = true,
        ends: Bool = false
    ) -> (outcome: Outcome, relay: ResponseRelay) {
        var (relay, head, outcome) = (ResponseRelay(), ResponseHead(), Outcome())
        let rewrite = ResponseRewrite(removesDecision: true)
        _ = relay.begin(request)
        if isWritten { relay.requestWritten() }
        for end in cuts + [input.count] {
            let arrived = input.span.extracting(..<end)
            arriving: while true {
                let step = relay.next(arrived, from: outcome.used, using: &head)
                switch step {
                case .needInput: break arriving
                case .interim(let count), .head(let count), .upgraded(let count):
                    outcome.note("\(step)".prefix { $0 != "(" } + " \(head.status)")
                    let bytes = arrived.extracting(outcome.used..<(outcome.used + count))
                    rewrite.write(head, bytes, for: relay, into: &outcome.output)
                    outcome.used += count
                case .body(let count):
                    outcome.note("body")
                    outcome.output += input[outcome.used..<(outcome.used + count)]
                    outcome.used += count
                case .skipped(let count): outcome.used += count
                case .complete:
                    outcome.note("complete \(relay.bodyBytes)")
                    return (outcome, relay)
                case .refused(let refusal):
                    outcome.note("refused \(refusal)")
                    return (outcome, relay)
                case .closed:
                    outcome.note("closed")
                    return (outcome, relay)
                }
            }
        }
        if ends { outcome.note("end \(relay.inputEnded())") }
        return (outcome, relay)
    }

    /// What a request's head says.
    static func traits(_ head: String) -> RequestTraits {
        let bytes = Array(head.utf8)
        var (reader, end) = (RequestHead(), HeadEnd())
        guard case .head = reader.read(bytes.span, end: &end) else { return .unknown }
        return RequestTraits(reader)
    }
}
