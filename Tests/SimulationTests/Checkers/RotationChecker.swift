// SPDX-License-Identifier: Apache-2.0

import CAServer
import FoundationEssentials
import Issuance
import NodeAgent
import NodeSync
import SPIFFE

/// Authorities change neither too early nor too late, and whatever is at hand verifies with the
/// bundle at hand, at all times; an agent that is dead for ever changes nothing of it.
struct RotationChecker {
    /// How late a due activation may be, beside the hold of an authority that is made late: the loop
    /// looks this often at a clock that may step, and a failed step is repeated after a while.
    static let latenessMax: Duration =
        RotationService.checkInterval + AuthorityRotation.retryDelay + .seconds(5)

    private struct Pair: Hashable {
        let serial: [UInt8]
        let bundleNumber: UInt64
    }

    private var verified: Set<Pair> = []
    /// By the number of the bundle, which `RevisionChecker` holds to mean one thing.
    private var verifiers: [UInt64: PeerVerifier] = [:]
    /// What was looked at, by agent.
    private var turns: [String: Int] = [:]
    private var activationsSeen = 0
    private var overdueSince: Duration?
    /// Rotations that were judged.
    private(set) var rotationCount = 0

    mutating func check(_ world: World) async throws {
        try checkActivations(world)
        try checkLateness(world)
        for agent in world.agents {
            guard let process = agent.process, turns[agent.name] != process.turn else { continue }
            turns[agent.name] = process.turn
            for workload in agent.workloads {
                guard let view = workload.view, let bundle = view.bundle else { continue }
                for svid in view.svids {
                    try await checkVerifies(
                        svid.certificateChain,
                        svid.serial,
                        svid.notAfter,
                        bundle,
                        agent,
                        world
                    )
                }
            }
            // Of a revoked authority the agent's own is good for nothing, until it has another.
            let own = world.ledger.issued[process.ownSerial]?.authorityID
            guard own.flatMap({ world.ledger.revokedAuthorities[$0] }) == nil else { continue }
            try await checkVerifies(
                process.identity.certificateChain,
                process.ownSerial,
                process.identity.notAfter,
                process.logic.bundle,
                agent,
                world
            )
        }
    }

    private mutating func checkVerifies(
        _ chain: [[UInt8]],
        _ serial: [UInt8],
        _ notAfter: Date,
        _ bundle: TrustBundle,
        _ agent: SimulatedAgent,
        _ world: World
    ) async throws {
        let pair = Pair(serial: serial, bundleNumber: bundle.sequenceNumber)
        // What had expired by a clock that decided about it needs no authority any more.
        guard !verified.contains(pair), notAfter > world.latestWall,
            notAfter > agent.clock.wallTime
        else { return }
        let fact = world.ledger.issued[serial]
        let leaf = try LeafCertificate(der: chain[0])
        do {
            let verifier =
                verifiers[bundle.sequenceNumber]
                ?? PeerVerifier(bundles: [bundle.trustDomain: bundle])
            verifiers[bundle.sequenceNumber] = verifier
            _ = try await verifier.verify(
                chain: chain,
                now: max(agent.clock.wallTime, leaf.notBefore)
            )
            verified.insert(pair)
        } catch {
            throw world.violation(
                .rotation,
                "\(agent.name) holds an SVID of \(fact?.spiffeID ?? "nobody") by authority "
                    + "\(fact?.authorityID.prefix(8) ?? "?") that does not verify with its bundle "
                    + "\(bundle.sequenceNumber): \(error)"
            )
        }
    }

    /// No authority signs before it was published long enough, while the one before it signs whole
    /// SVIDs, nor before every live agent has it, but for the latest moment; an admin may have it
    /// sign at once.
    private mutating func checkActivations(_ world: World) throws {
        for activation in world.ledger.activations[activationsSeen...] {
            activationsSeen += 1
            guard !activation.isOrdered,
                let retiring = activation.retiring.flatMap({ world.ledger.authorities[$0] }),
                let next = world.ledger.authorities[activation.id],
                activation.wall < retiring.holdEnd(world.settings.lifetimes)
            else { continue }
            rotationCount += 1
            guard
                activation.at - next.publishedAt >= world.settings.hold - .seconds(1)
                    || world.serverClockStepped
            else {
                throw world.violation(
                    .rotation,
                    "an authority signs "
                        + "\((activation.at - next.publishedAt).inSeconds) s after publication"
                )
            }
            guard activation.wall < retiring.lastMoment(world.settings.lifetimes) else { continue }
            // Live is who was connected lately, whichever process of the server it was to.
            for agent in world.agents {
                guard let seen = world.seen[agent.name],
                    activation.at - seen < SyncPublisher.livenessDuration,
                    agent.appliedMax < next.bundleNumber
                else { continue }
                // By a clock that is wrong at the start of the server, which nothing tells, the
                // certificates of those whom the process before it saw may have ended long ago.
                let sawItself = world.serverWorksSince.map { $0 <= seen } ?? false
                guard sawItself || !world.serverClockStepped else { continue }
                throw world.violation(
                    .rotation,
                    "an authority signs before \(agent.name) has it, which was connected "
                        + "\((activation.at - seen).inSeconds) s before"
                )
            }
        }
    }

    /// The latest moment is the latest.
    private mutating func checkLateness(_ world: World) throws {
        guard
            let active = world.ledger.activations.last.flatMap({
                world.ledger.authorities[$0.id]
            }), world.serverWorksSince != nil,
            world.server.clock.wallTime > active.lastMoment(world.settings.lifetimes)
        else {
            overdueSince = nil
            return
        }
        let now = world.scheduler.now
        let since = overdueSince ?? now
        overdueSince = since
        guard now - since <= Self.latenessMax + world.settings.hold else {
            throw world.violation(
                .rotation,
                "authority \(active.id.prefix(8)) signs after its last moment"
            )
        }
    }
}

extension AuthorityFact {
    /// When the successor must begin to sign (design section 5).
    func lastMoment(_ lifetimes: SVIDLifetimes) -> Date {
        let lead = max(
            notAfter.timeIntervalSince(notBefore) / 6,
            lifetimes.longestSVID.seconds * 2
        )
        return notAfter.addingTimeInterval(-lead)
    }

    /// Until when a successor that was made late is held.
    func holdEnd(_ lifetimes: SVIDLifetimes) -> Date {
        notAfter.addingTimeInterval(-lifetimes.longestSVID.seconds)
    }
}
