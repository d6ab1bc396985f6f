// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import SwiftProtobuf
internal import Synchronization

/// What the proxy has to tell its agent.
///
/// Nothing here grows with the agent's absence: of what is whole each time the newest is kept, and
/// records beyond their limit are dropped and counted.
final class LinkOutbox: Sendable {
    /// Most messages of records that wait: counts of more than a minute without the agent.
    static let recordsMax = 32
    /// Most of them when the next one has no counts: a flood of denials takes no count's place.
    static let decisionRecordsMax = 16

    private struct State {
        var answer: Signet_Proxy_V1alpha1_StateAnswer?
        var queryAnswers: [Signet_Proxy_V1alpha1_ProxyAnswer] = []
        var listening: [ProxyListening] = []
        var isListeningDue = false
        var isDraining = false
        var isDrainingDue = false
        var isFinished = false
        var records: [Signet_Proxy_V1alpha1_TrafficRecords] = []
        var dropped: UInt64 = 0
    }

    /// Signalled when there is something to send.
    let filled = Signal()
    private let state = Mutex(State())

    /// A stream was opened: what was answered on another one is nobody's concern, and the agent
    /// is told again what it has to know.
    func streamOpened() {
        state.withLock { state in
            state.answer = nil
            state.queryAnswers = []
            state.isListeningDue = !state.listening.isEmpty
            state.isDrainingDue = state.isDraining
        }
        filled.signal()
    }

    func answer(_ sequence: UInt64, refusedReason: String) {
        put { state in
            state.answer = .with {
                $0.sequence = sequence
                $0.refusedReason = AttachedProxy.cut(refusedReason)
            }
        }
    }

    func answer(_ id: UInt64, _ reply: Signet_Node_V1alpha1_ProxyQueryReply) {
        put { state in
            state.queryAnswers.append(
                .with {
                    $0.id = id
                    $0.reply = reply
                }
            )
        }
    }

    func listening(_ listeners: [ProxyListening]) {
        put { state in
            state.listening = listeners
            state.isListeningDue = true
        }
    }

    func drain() {
        put { state in
            state.isDraining = true
            state.isDrainingDue = true
        }
    }

    /// Takes a message of records, or drops and counts it.
    ///
    /// - Returns: Whether there was room.
    func record(_ records: Signet_Proxy_V1alpha1_TrafficRecords) -> Bool {
        let isAdded = state.withLock { state in
            let room = records.counts.isEmpty ? Self.decisionRecordsMax : Self.recordsMax
            guard state.records.count < room else {
                let lost = records.counts.count + records.denials.count + records.samples.count
                state.dropped += UInt64(lost) + records.dropped
                return false
            }
            state.records.append(records)
            return true
        }
        filled.signal()
        return isAdded
    }

    /// Nothing more will come; what is here is to be sent.
    func finish() { put { $0.isFinished = true } }

    /// Whether everything that there was ever to say was given out.
    var isExhausted: Bool {
        state.withLock { state in
            state.isFinished && state.records.isEmpty && state.dropped == 0
                && state.queryAnswers.isEmpty && state.answer == nil && !state.isDrainingDue
                && !state.isListeningDue
        }
    }

    /// Records that wait, and were dropped and not told of.
    var recordsLeft: UInt64 {
        state.withLock { state in
            state.records.reduce(state.dropped) { sum, records in
                let count = records.counts.count + records.denials.count + records.samples.count
                return sum + UInt64(count) + records.dropped
            }
        }
    }

    /// The next message, what others wait for first; nil if there is nothing to say.
    func next() -> Signet_Proxy_V1alpha1_ProxyMessage? {
        state.withLock { state in
            if let answer = state.answer {
                state.answer = nil
                return .with { $0.answer = answer }
            }
            if state.isDrainingDue {
                state.isDrainingDue = false
                return .with { $0.draining = .init() }
            }
            if state.isListeningDue {
                state.isListeningDue = false
                let listeners = state.listening.map(\.message)
                return .with { $0.listening = .with { $0.listeners = listeners } }
            }
            if !state.queryAnswers.isEmpty {
                let answer = state.queryAnswers.removeFirst()
                return .with { $0.queryAnswer = answer }
            }
            // What was dropped last has no later message to be told with.
            guard !state.records.isEmpty || state.isFinished && state.dropped > 0 else {
                return nil
            }
            var records = state.records.isEmpty ? .init() : state.records.removeFirst()
            records.dropped += state.dropped
            state.dropped = 0
            return .with { $0.records = records }
        }
    }

    private func put(_ change: (inout State) -> Void) {
        state.withLock { change(&$0) }
        filled.signal()
    }
}
