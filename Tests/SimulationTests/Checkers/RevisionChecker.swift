// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// Revisions go forward at both ends, nobody has or is believed to have what was not committed,
/// and whoever has a revision has exactly what the admin had declared by then.
struct RevisionChecker {
    private struct Known {
        weak var process: AgentProcess?
        var revision: Revision
        var bundleNumber: UInt64
    }

    private var known: [String: Known] = [:]

    mutating func check(_ world: World) throws {
        for agent in world.agents {
            try checkBelief(agent, world)
            guard let process = agent.process, let revision = process.logic.sync.revision else {
                continue
            }
            let bundleNumber = process.logic.bundle.sequenceNumber
            if let last = known[agent.name], last.process === process {
                guard last.revision != revision || last.bundleNumber != bundleNumber else {
                    continue
                }
                guard
                    revision.epoch != last.revision.epoch
                        || revision.number >= last.revision.number
                else {
                    throw world.violation(
                        .revisions,
                        "\(agent.name) went from revision \(last.revision.number) back to "
                            + "\(revision.number)"
                    )
                }
                guard bundleNumber >= last.bundleNumber else {
                    throw world.violation(
                        .revisions,
                        "\(agent.name) went from bundle \(last.bundleNumber) back to "
                            + "\(bundleNumber)"
                    )
                }
            }
            known[agent.name] = Known(
                process: process,
                revision: revision,
                bundleNumber: bundleNumber
            )
            agent.applied(revision.number)
            try checkContent(agent, process, revision, world)
        }
    }

    /// What the server believes an agent to have, it has or had.
    private func checkBelief(_ agent: SimulatedAgent, _ world: World) throws {
        guard let running = world.server.running,
            let believed = running.publisher.presence(of: AgentName(agent.name)).applied
        else { return }
        let applied = max(agent.appliedMax, agent.process?.logic.sync.revision?.number ?? 0)
        guard believed <= applied else {
            throw world.violation(
                .revisions,
                "the server believes \(agent.name) to have \(believed), it has \(applied)"
            )
        }
    }

    private func checkContent(
        _ agent: SimulatedAgent,
        _ process: AgentProcess,
        _ revision: Revision,
        _ world: World
    ) throws {
        guard let state = world.ledger.state(at: revision.number) else {
            throw world.violation(
                .revisions,
                "\(agent.name) has revision \(revision.number), the newest is "
                    + "\(world.ledger.number)"
            )
        }
        let expected = state.entries.filter {
            $0.value.nodeSelectors.isSubset(of: agent.allSelectors)
        }
        let found = process.logic.entries.mapValues(\.revision)
        guard found == expected.mapValues(\.revision) else {
            throw world.violation(
                .revisions,
                "\(agent.name) has at revision \(revision.number) the entries "
                    + "\(found.values.sorted()) and not \(expected.values.map(\.revision).sorted())"
            )
        }
        let bundle = process.logic.bundle
        let authorities = Set(bundle.x509Authorities.map { world.authorityID(of: $0) })
        guard world.ledger.state(at: bundle.sequenceNumber)?.authorities == authorities,
            bundle.sequenceNumber >= world.ledger.bundleNumber(at: revision.number)
        else {
            throw world.violation(
                .revisions,
                "\(agent.name) has at revision \(revision.number) the bundle "
                    + "\(bundle.sequenceNumber), which is not that of the server"
            )
        }
    }
}
