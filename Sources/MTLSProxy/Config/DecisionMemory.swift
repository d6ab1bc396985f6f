// SPDX-License-Identifier: Apache-2.0

internal import Authorization
package import ControlAPIProtos
internal import DecisionLog
internal import DecisionWire
internal import FoundationEssentials
internal import HTTPSemantics
package import NodeSync
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf
internal import Synchronization

/// The newest denials, with the policies they were made by, so that an admin can ask why.
///
/// Explanations are made when somebody asks, never for a denial that nobody asks about.
package final class DecisionMemory: Sendable {
    /// Most denials: a flood of them forgets the older ones, at some 300 bytes each.
    package static let denialsMax = 4_096
    /// Most rules of a listener with which a nearest miss is looked for without being asked: more
    /// take milliseconds each.
    static let nearestMissRulesMax = 1_000
    /// Snapshots whose policies are kept: a denial is asked about soon or by its log line.
    static let snapshotsMax = 8

    private struct Denial {
        let record: ProxyRecord
        let revision: UInt64
    }

    /// An inbound listener of a snapshot, without its TLS context: no key outlives its snapshot.
    private struct Judge {
        let listener: InboundListener
        let policies: CompiledPolicySet
    }

    private struct Memory {
        let judges: [Judge]
        let revision: Revision

        func judge(named name: String) -> Judge? { judges.first { $0.listener.name == name } }
    }

    private struct State {
        var denials: [String: Denial] = [:]
        var order: [String] = []
        /// The first of `order` that is not forgotten.
        var oldest = 0
        var memories: [Memory] = []
    }

    private let state = Mutex(State())

    package init() {}

    /// A snapshot comes into force.
    package func remember(_ snapshot: ProxySnapshot, revision: Revision) {
        let judges = snapshot.inbound.map { Judge(listener: $0.listener, policies: $0.policies) }
        state.withLock { state in
            guard let last = state.memories.last, last.revision == revision else {
                state.memories.append(Memory(judges: judges, revision: revision))
                if state.memories.count > Self.snapshotsMax { state.memories.removeFirst() }
                return
            }
            // Trust, keys and endpoints change while the policies stay.
            let names = Set(judges.map(\.listener.name))
            let gone = last.judges.filter { !names.contains($0.listener.name) }
            state.memories[state.memories.count - 1] = Memory(
                judges: judges + gone,
                revision: revision
            )
        }
    }

    /// The policies that a listener had under a revision; nil if they are not kept any more.
    func policies(ofListener name: String, revision: UInt64) -> CompiledPolicySet? {
        state.withLock { state in
            state.memories.last { $0.revision.number == revision }?.judge(named: name)?.policies
        }
    }

    /// The newest inbound listener that had a name; it may be called otherwise by now, or be gone.
    func listener(named name: String) -> InboundListener? {
        state.withLock { state in
            for memory in state.memories.reversed() {
                if let judge = memory.judge(named: name) { return judge.listener }
            }
            return nil
        }
    }

    /// Takes what the engine recorded; only denials are kept, those in shadow as well.
    package func add(_ records: [ProxyRecord]) {
        state.withLock { state in
            for record in records {
                guard let decision = record.decision,
                    !decision.isAllowed || decision.differsInShadow,
                    let id = record.decisionID?.description
                else { continue }
                state.denials[id] = Denial(record: record, revision: record.revision)
                state.order.append(id)
                while state.order.count - state.oldest > Self.denialsMax {
                    state.denials[state.order[state.oldest]] = nil
                    state.oldest += 1
                }
                if state.oldest > Self.denialsMax {
                    state.order.removeFirst(state.oldest)
                    state.oldest = 0
                }
            }
        }
    }

    /// What the decision log is told of a decision: without an account of each rule, whose number
    /// has no limit.
    ///
    /// - Parameters:
    ///   - record: With a decision.
    ///   - nearestMiss: Whether the rule that lacked least is looked for, which judges again.
    /// - Returns: nil if its snapshot is not kept any more.
    func logged(
        _ record: ProxyRecord,
        nearestMiss: Bool
    ) -> Signet_Node_V1alpha1_DecisionExplanation? {
        let found: (Judge, Revision)? = state.withLock { state in
            guard
                let kept = state.memories.last(where: { $0.revision.number == record.revision }),
                let judge = kept.judge(named: record.listener)
            else { return nil }
            return (judge, kept.revision)
        }
        guard let (judge, revision) = found else { return nil }
        var message = record.logged(by: judge.listener, judge.policies, revision)
        guard nearestMiss, let id = record.decisionID,
            judge.policies.policies.reduce(0, { $0 + $1.rules.count }) <= Self.nearestMissRulesMax
        else { return message }
        let explanation = record.explanation(
            id: id.description,
            of: judge.listener,
            under: judge.policies,
            revision: revision
        )
        message?.nearestMiss = DecisionText.cut(
            explanation?.nearestMiss ?? "",
            bytesMax: DecisionText.nearestMissBytesMax
        )
        return message
    }

    /// Why a request or connection was denied; nil if it is not remembered.
    package func explanation(of id: String) -> Signet_Node_V1alpha1_DecisionExplanation? {
        let found: (Denial, Judge, Revision)? = state.withLock { state in
            guard let denial = state.denials[id],
                let kept = state.memories.last(where: { $0.revision.number == denial.revision }),
                let judge = kept.judge(named: denial.record.listener)
            else { return nil }
            return (denial, judge, kept.revision)
        }
        guard let (denial, judge, revision) = found else { return nil }
        return denial.record.explanation(
            id: id,
            of: judge.listener,
            under: judge.policies,
            revision: revision
        )
    }
}

extension ProxyRecord {
    /// What the numbers of its decision say, with names.
    fileprivate func logged(
        by inbound: InboundListener,
        _ policies: CompiledPolicySet,
        _ revision: Revision
    ) -> Signet_Node_V1alpha1_DecisionExplanation? {
        guard let decision, let decisionID, let address = peerAddress else { return nil }
        let cause = policies.verdict(of: decision.enforced).cause
        let shadow = policies.verdict(of: decision.shadow).cause
        return .with {
            $0.id = decisionID.description
            $0.timeUnixMilliseconds = Int64((time * 1000).rounded())
            $0.allowed = decision.isAllowed
            $0.policyNamespace = cause?.namespace ?? ""
            $0.policy = cause?.policy ?? ""
            $0.rule = cause.map { Int32(clamping: $0.rule) } ?? -1
            $0.reason = decision.enforced.reason.word
            $0.listener = listener
            $0.identity = inbound.identity.description
            $0.peer = peer?.description ?? ""
            $0.peerAddress = "\(address)"
            $0.port = UInt32(inbound.workloadPort)
            $0.revision = .with {
                $0.epoch = Data(revision.epoch.bytes)
                $0.number = revision.number
            }
            $0.shadowDiffers = decision.differsInShadow
            $0.shadowAllowed = decision.shadow.isAllowed
            $0.shadowPolicy = shadow.map { "\($0.namespace)/\($0.policy)" } ?? ""
            guard kind == .request else { return }
            $0.method = DecisionText.cut(methodName, bytesMax: DecisionText.methodBytesMax)
            $0.path = DecisionText.cut(path, bytesMax: DecisionText.pathBytesMax)
        }
    }

    /// What policies say of what was recorded, which has no host, header or server name: what was
    /// decided is what was, and a rule that asks for one of these is not judged again.
    fileprivate func explanation(
        id: String,
        of inbound: InboundListener,
        under policies: CompiledPolicySet,
        revision: Revision
    ) -> Signet_Node_V1alpha1_DecisionExplanation? {
        guard let decision, let told = logged(by: inbound, policies, revision),
            let address = peerAddress
        else { return nil }
        let request = AccessRequest(
            peer: peer,
            in: inbound.identity.trustDomain,
            address: address,
            port: inbound.workloadPort,
            http: kind == .request
                ? AccessRequest.HTTP(method: methodName, path: path) : nil,
            isPartial: true
        )
        let explanation = AccessExplanation(
            request,
            under: policies.policies,
            verdict: policies.verdict(of: decision.enforced),
            shadowVerdict: policies.verdict(of: decision.shadow)
        )
        var message = explanation.message(
            of: request,
            workload: inbound.identity,
            at: Date(timeIntervalSince1970: time)
        )
        message.reason = told.reason
        message.id = id
        message.listener = listener
        message.peerAddress = "\(address)"
        message.revision = .with {
            $0.epoch = Data(revision.epoch.bytes)
            $0.number = revision.number
        }
        return message
    }
}
