// SPDX-License-Identifier: Apache-2.0

import CAServer
import Datastore
import FoundationEssentials
import NodeSync
import SPIFFE

/// What `AdministrationService` does for an admin who revokes.
extension ServerProcess {
    /// Refuses what was issued for an identity, and signs nothing for it for a while.
    func revoke(identity text: String, seconds: UInt32) throws {
        let (logic, standing, ledger) = (logic, standing, ledger)
        let (wall, instant) = (clock.wallTime, scheduler.now)
        let order = RevocationOrder(
            spiffeID: try SPIFFEID(text),
            reason: "simulation",
            seconds: seconds
        )
        try write(claiming: { (result: RevocationResult) in
            ledger.revoked(
                identity: text,
                before: result.revocation.issuedBefore,
                number: result.revision.number,
                at: instant,
                wall: wall
            )
        }) {
            try logic.revoke(order, by: standing, in: $0)
        }
    }

    /// Refuses one certificate.
    func revoke(serial: [UInt8]) throws {
        let (logic, standing, ledger, instant) = (logic, standing, ledger, scheduler.now)
        try write(claiming: { (number: UInt64) in
            ledger.revoked(serial: serial, number: number, at: instant)
        }) { transaction in
            try logic.revokeCertificate(
                serial: serial,
                reason: "simulation",
                by: standing,
                in: transaction
            ).revision.number
        }
    }

    /// What a part of what a node holds came to.
    private struct Held: Sendable {
        var serials: [[UInt8]]
        /// Before which moment what was issued for identities is refused.
        var before: [String: Date] = [:]
        var number: UInt64 = 0
    }

    /// Refuses what the workloads and proxies of a node hold that is banned or gone.
    func revokeHeld(by node: NodeRecord) throws {
        let (logic, standing, ledger) = (logic, standing, ledger)
        let (wall, instant) = (clock.wallTime, scheduler.now)
        let since = wall.addingTimeInterval(-Revocation.clockSkewSeconds)
        let held = try datastore.readNow {
            try logic.held(byNode: node.name, since: since, in: $0)
        }
        guard held.count + held.identities.count > 0 else { return }
        try write(claiming: { (done: Held) in
            for serial in done.serials {
                ledger.revoked(serial: serial, number: done.number, at: instant)
            }
            for (identity, before) in done.before {
                ledger.revoked(
                    identity: identity,
                    before: before,
                    number: done.number,
                    at: instant,
                    wall: wall
                )
            }
        }) { transaction in
            let part = try logic.revoke(
                held.intents[...],
                held.identities[...],
                of: node.spiffeID,
                isClockBelieved: true,
                left: held.count + held.identities.count,
                reason: "simulation",
                by: standing,
                in: transaction
            )
            var done = Held(serials: part.certificates.map(\.serial))
            for identity in held.identities {
                let revocation = try transaction.revocation(of: try SPIFFEID(identity))
                done.before[identity] = revocation?.issuedBefore
            }
            done.number = try transaction.revision().number
            return done
        }
    }
}
