// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Datastore
internal import FoundationEssentials
internal import Logging
internal import Telemetry

extension Server {
    /// Looks whether the server is held after a restore, and says so.
    func beginHold() async throws -> Bool {
        core.metrics.set(.serverHeld, to: 0)
        guard let hold = try await core.read({ try $0.hold() }) else {
            core.health.met(ServerCore.heldCondition)
            return false
        }
        core.holdGate.begin()
        core.metrics.set(.serverHeld, to: 1)
        core.health.unmet(
            ServerCore.heldCondition,
            reason: hold.reason == .restored
                ? "restored at \(hold.restoredAt.formatted(.iso8601)), and nothing is signed until "
                    + "signet server recover"
                : "set back, as an agent has proved: nothing is signed until signet-server restore"
        )
        core.health.met("datastore")
        core.logger.warning(
            hold.reason == .restored
                ? "restored and held: signet server recover --rehearse says what may be missing"
                : "set back and held: only signet-server restore leads on",
            metadata: ["records": "\(hold.logSize)"]
        )
        return true
    }

    /// Serves health and metrics, from before a start that may wait for an upstream or an admin.
    func serveTelemetry(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws {
        let endpoint = try await telemetryEndpoint()
        group.addTask { try await endpoint.run() }
    }

    /// Serves admins on this machine, and publishes the log.
    ///
    /// A held server does no more than this and its telemetry: nothing else is signed, no key is
    /// destroyed, and no other listener is open; agents serve what they have.
    func serveAdmins(_ group: inout ThrowingTaskGroup<Void, any Error>) {
        let (core, local) = (core, localTransport())
        group.addTask { await core.audit.run() }
        group.addTask { await watchDatastore() }
        group.addTask { try await serve(local, services: adminServices) }
    }

    /// Returns when somebody has ended the hold.
    ///
    /// - Throws: Why what is served meanwhile has ended, `CancellationError` when it was told to.
    func waitWhileHeld(_ group: inout ThrowingTaskGroup<Void, any Error>) async throws {
        let core = core
        group.addTask { await core.holdGate.wait() }
        try await group.next()
        try Task.checkCancellation()
        guard !core.holdGate.isHeld else { throw ServerStartError.heldServerEnded }
        core.metrics.set(.serverHeld, to: 0)
        core.health.met(ServerCore.heldCondition)
    }
}
