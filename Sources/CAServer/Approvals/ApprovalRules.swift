// SPDX-License-Identifier: Apache-2.0

package import Authorization
internal import ControlAPI
internal import Datastore
package import FoundationEssentials
internal import SPIFFE

/// What a server's configuration says of approvals.
package struct ApprovalRules: Sendable {
    /// How many others have to approve; 0: nobody.
    package let needed: Int
    /// Who has the built-in admin role.
    package let admins: [ActorPattern]

    package init(needed: Int, admins: [ActorPattern]) {
        self.needed = needed
        self.admins = admins
    }

    /// Says when there are fewer persons than it takes to propose and approve.
    ///
    /// - Parameters:
    ///   - access: Roles and bindings of the moment.
    ///   - now: The wall clock.
    /// - Returns: The warning; nil if there are enough.
    package func warning(of access: AdminAccess, now: Date) -> String? {
        let persons = access.personCount(at: now)
        guard needed > 0, persons <= needed else { return nil }
        return "approvals is \(needed), and bindings in force name \(persons) person(s), all local "
            + "users of servers counted as one: nothing that needs approval can be done. Bind "
            + "\(needed + 1) or more; if nobody can, set approvals: 0 and restart"
    }
}

/// Who asks, and what he shows.
package struct ApprovalCaller: Sendable {
    /// The certificate of somebody on the network.
    package struct SVID: Hashable, Sendable {
        package let serial: [UInt8]
        /// The key identifier of who signed it, as the datastore has it.
        package let authorityID: String

        package init(serial: [UInt8], authorityID: String) {
            self.serial = serial
            self.authorityID = authorityID
        }
    }

    /// What he may do, read in the transaction in which he does it.
    package let standing: AdminStanding
    /// Nil for a local user of the server.
    package let svid: SVID?

    package init(standing: AdminStanding, svid: SVID?) {
        self.standing = standing
        self.svid = svid
    }

    var actor: Actor { standing.actor }

    /// What is kept of the certificate, with the node that it was issued to as far as that is on
    /// record: a serial number alone is what another authority may choose.
    ///
    /// - Throws: `APIError` (`nodeBanned`): what a node holds is revoked some time after it is banned
    ///   or evicted, and until then nothing is proposed or approved with it.
    func certificate(in transaction: ReadTransaction) throws -> ShownCertificate? {
        guard let svid else { return nil }
        let intent = try transaction.intent(serial: svid.serial)
        let isOnRecord =
            intent?.authorityID == svid.authorityID && intent?.spiffeID == actor.description
        let node = isOnRecord ? intent?.node ?? "" : ""
        if !node.isEmpty {
            guard let record = try transaction.node(named: node), record.ban == nil else {
                throw APIError(
                    .permissionDenied,
                    "nodeBanned",
                    "this certificate was issued to node \(node), which is banned or evicted: nothing "
                        + "is proposed or approved with it"
                )
            }
        }
        return ShownCertificate(
            serial: svid.serial,
            authorityID: svid.authorityID,
            node: node.isEmpty ? nil : node
        )
    }
}
