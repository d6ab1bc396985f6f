// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Clocks
internal import ControlAPI
package import ControlAPIProtos
internal import FoundationEssentials
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf

/// Answers what the server, or a person on this machine, asks about the agent.
package struct ServerQueries: Sendable {
    /// Near misses named when nobody says how many.
    static let nearMissesDefault = 10

    let core: AgentCore
    let attestor: UnixWorkloadAttestor

    package init(core: AgentCore, attestor: UnixWorkloadAttestor) {
        self.core = core
        self.attestor = attestor
    }

    /// Answers within the question's deadline.
    package func answer(
        _ query: Signet_Node_V1alpha1_Query
    ) async -> Signet_Node_V1alpha1_QueryReply {
        switch query.kind {
        case .agentStatus:
            return .with {
                $0.id = query.id
                $0.agentStatus = status()
            }
        case .explainWorkload(let question):
            let deadline = core.clock.bootTime + .milliseconds(Int(query.deadlineMilliseconds))
            let limit = query.limit == 0 ? Self.nearMissesDefault : Int(query.limit)
            let explanation = await within(deadline) {
                await explain(pid: question.pid, limit: limit)
            }
            guard let explanation else {
                return refusal(query, "deadline", "the agent could not answer in time")
            }
            return .with {
                $0.id = query.id
                $0.explainWorkload = explanation
            }
        case .proxy(let question): return await ask(question, query)
        case nil:
            return refusal(query, "queryUnknown", "this version of the agent cannot answer that")
        }
    }

    /// Passes a question on to the process that has the Proxy.
    private func ask(
        _ question: Signet_Node_V1alpha1_ProxyQuery,
        _ query: Signet_Node_V1alpha1_Query
    ) async -> Signet_Node_V1alpha1_QueryReply {
        guard let session = core.proxies.session(of: question.proxy) else {
            return refusal(query, "proxyNotAttached", "no process has the Proxy on this machine")
        }
        let deadline = core.clock.bootTime + .milliseconds(Int(query.deadlineMilliseconds))
        let reply = await within(deadline) { () -> Signet_Node_V1alpha1_ProxyQueryReply? in
            do {
                return try await session.ask(question, limit: query.limit)
            } catch {
                return .with {
                    $0.refusal = .with {
                        $0.code = (error as? APIError)?.reason ?? "fault"
                        $0.message = (error as? APIError)?.message ?? "\(error)"
                    }
                }
            }
        }
        guard let answer = reply ?? nil else {
            return refusal(query, "deadline", "the proxy did not answer in time")
        }
        return .with {
            $0.id = query.id
            $0.proxy = answer
        }
    }

    /// Refuses a question because too many are open.
    func busy(_ query: Signet_Node_V1alpha1_Query) -> Signet_Node_V1alpha1_QueryReply {
        refusal(query, "busy", "the agent answers other questions; ask again")
    }

    /// Why the process gets what it gets.
    func explain(
        pid: Int32,
        limit: Int = Self.nearMissesDefault
    ) async -> Signet_Node_V1alpha1_WorkloadExplanation {
        do throws(WorkloadAttestationError) {
            let process = try NamedProcess(pid: pid).process
            let attestation = try await attestor.attest(process)
            let found = core.logic.explanation(
                of: attestation.selectors,
                limit: limit,
                now: core.clock.wallTime
            )
            return .with {
                $0.pid = pid
                $0.selectors = attestation.selectors.sorted().map(\.description)
                $0.spiffeIds = found.spiffeIDs.map(\.description)
                $0.grantingEntries = found.grants.map(\.message)
                $0.nearMisses = found.nearMisses.map(\.message)
                $0.notes =
                    core.ask { $0.proxies(meaning: attestation.selectors) }
                    .map { "the process attests to Proxy \($0.reference)" } + attestation.omissions
                if let revision = found.revision { $0.revision = revision.message }
            }
        } catch {
            return .with {
                $0.pid = pid
                $0.attestationError = error.description
                if let revision = core.ask({ $0.sync.revision }) { $0.revision = revision.message }
            }
        }
    }

    func status() -> Signet_Node_V1alpha1_AgentStatus {
        let status = core.ask { $0.status }
        return .with {
            $0.name = status.name
            $0.spiffeID = status.id?.description ?? ""
            $0.version = SignetVersion.current
            if let applied = status.applied { $0.applied = applied.message }
            $0.connected = status.isConnected
            $0.entries = UInt64(status.entryCount)
            $0.svids = UInt64(status.svidCount)
            $0.workloadStreams = UInt64(status.streamCount)
            $0.svidNotAfterUnixSeconds = Int64(status.ownNotAfter.timeIntervalSince1970)
            $0.clockSkewMilliseconds = Int64((status.clockSkew ?? .zero) / .milliseconds(1))
            $0.notReadyReasons = status.notReadyReasons
            if let problem = core.disk.problem {
                $0.notReadyReasons.append("\(AgentDisk.condition): \(problem)")
            }
        }
    }

    private func refusal(
        _ query: Signet_Node_V1alpha1_Query,
        _ code: String,
        _ message: String
    ) -> Signet_Node_V1alpha1_QueryReply {
        .with {
            $0.id = query.id
            $0.refusal = .with {
                $0.code = code
                $0.message = message
            }
        }
    }

    private func within<Result: Sendable>(
        _ deadline: Duration,
        _ body: @escaping @Sendable () async -> Result
    ) async -> Result? {
        let clock = core.clock
        return await withTaskGroup(of: Result?.self) { group in
            group.addTask { await body() }
            group.addTask {
                try? await clock.sleep(untilBoot: deadline)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first
        }
    }
}

extension WorkloadExplanation.Grant {
    var message: Signet_Node_V1alpha1_GrantingEntry {
        .with {
            $0.entry = entry
            $0.entryID = entryID
            $0.spiffeID = spiffeID.description
            $0.matched = matched.map(\.description)
        }
    }
}

extension WorkloadExplanation.NearMiss {
    var message: Signet_Node_V1alpha1_NearMiss {
        .with {
            $0.entry = entry
            $0.spiffeID = spiffeID
            $0.matched = matched.map(\.description)
            $0.missingWorkloadSelectors =
                missing.map(\.description) + (templateProblem.map { [$0.description] } ?? [])
            $0.missingNodeSelectors = missingOfNode.map(\.description)
        }
    }
}
