// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import Clocks
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import Issuance
internal import NodeSync
internal import SPIFFE
internal import Telemetry

extension Server {
    /// The rules of a server with this configuration.
    static func logic(
        _ configuration: ServerConfiguration,
        _ profiles: ServerProfiles,
        of stored: StoreIdentity
    ) -> ServerLogic {
        ServerLogic(
            trustDomain: stored.trustDomain,
            serverID: stored.serverID,
            lifetimes: configuration.lifetimes,
            profiles: profiles.profiles,
            hold: configuration.hold,
            exchangesTokens: configuration.exchangesTokens
        )
    }

    /// What health tells of, with what the configuration adds.
    static func health(of configuration: ServerConfiguration) -> Health {
        Health(
            ready: readyConditions,
            noted: notedConditions + configuration.publicConditions
                + configuration.upstreamConditions + configuration.keyConditions
        )
    }

    /// Opens or makes the database, and looks through a small one.
    static func openDatastore(_ path: String) throws -> ServerStore {
        let size = (try? DurableFile.size(of: path)) ?? 0
        var options = DatastoreOptions()
        options.checksIntegrity = size <= checkedDatabaseBytesMax
        return try ServerStore(path: path, options: options)
    }

    /// Whose database it is; a new one is given its name.
    static func establish(
        _ configuration: ServerConfiguration,
        _ datastore: ServerStore,
        now: Date
    ) throws -> (StoreIdentity, isNew: Bool) {
        if let stored = try datastore.readNow({ try $0.identity() }) {
            guard stored.trustDomain == configuration.trustDomain else {
                throw ServerStartError.trustDomainDiffers(
                    stored: stored.trustDomain.name,
                    configured: configuration.trustDomain.name
                )
            }
            return (stored, false)
        }
        let checkpoint = "\(configuration.auditDirectory)/\(TilePath.checkpoint)"
        guard !FileManager.default.fileExists(atPath: checkpoint) else {
            throw ServerStartError.databaseLost(
                path: configuration.databasePath,
                log: configuration.auditDirectory
            )
        }
        var generator = SystemRandomness()
        let serverID = Hexadecimal.text((0..<4).map { _ in UInt8.random(in: .min ... .max) })
        let identity = StoreIdentity(
            trustDomain: configuration.trustDomain,
            serverID: serverID,
            epoch: Epoch(using: &generator),
            createdAt: now
        )
        try datastore.writeNow { try $0.establish(identity) }
        return (identity, true)
    }
}
