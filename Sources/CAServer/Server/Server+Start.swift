// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import Datastore
internal import Logging
internal import NodeSync
internal import PublicEndpoint
internal import SPIFFE
internal import Telemetry

extension Server {
    /// Writes the leaf of a start, and says if tokens name another issuer than before.
    func recordStart() async throws {
        let (core, logic, now) = (core, core.logic, core.clock.wallTime)
        let profiles = profiles
        let url = core.configuration.publicURL?.description ?? ""
        let exchanges = core.configuration.exchangesTokens
        let approvals = UInt64(clamping: core.configuration.approvals)
        let (before, own) = try await core.write { transaction in
            let before = try Self.lastStart(in: transaction)
            let revision = try transaction.revision()
            let start = ServerStart(
                epoch: revision.epoch.bytes,
                revision: revision.number,
                serverID: logic.serverID,
                version: SignetVersion.current,
                publicURL: url,
                profiles: profiles.digests,
                exchangesTokens: exchanges,
                approvals: approvals
            )
            let leaf = try transaction.append(.serverStarted(start), by: .system("server"), at: now)
            return (before, RecheckStart(leafIndex: leaf, time: now, value: start))
        }
        core.ownStart = own
        guard let before, before.publicURL != url else { return }
        core.logger.warning(
            "publicURL is another one than at the last start, and verifiers compare it",
            metadata: ["before": "\(before.publicURL)", "now": "\(url)"]
        )
    }

    /// Makes the server's own certificate; without a clock that is believed there is none, and the
    /// admin socket alone serves until somebody has mended that.
    func beginIdentity() async throws {
        do {
            try await identity.renew()
        } catch {
            guard await !core.isClockBelieved() else { throw error }
            core.health.unmet("identity", reason: "\(error)")
            core.logger.error(
                "agents are not served: the clock is not believed, and nothing can be signed",
                metadata: ["error": "\(error)"]
            )
        }
    }

    /// The start before this one; nil at the first.
    private static func lastStart(in transaction: ReadTransaction) throws -> ServerStart? {
        var filter = AuditLeafFilter()
        filter.event = AuditEvent.Name.serverStarted.rawValue
        let leaf = try transaction.queryLeaves(filter, limit: 1, newestFirst: true).first
        // One that cannot be read says nothing here; `signet audit verify` names it.
        guard let leaf, let record = try? AuditRecord(parsing: leaf.bytes),
            case .serverStarted(let start) = record.event
        else { return nil }
        return start
    }
}
