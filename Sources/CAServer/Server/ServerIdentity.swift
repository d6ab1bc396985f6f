// SPDX-License-Identifier: Apache-2.0

internal import Issuance
internal import Clocks
internal import FoundationEssentials
internal import GRPCPeer
internal import Logging
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// The server's own SVID: its key lives in memory, is new with each certificate, and is renewed at
/// half life.
final class ServerIdentity: Sendable {
    /// Pause before another try after a renewal failed.
    static let retryInterval: Duration = .seconds(5)

    private struct State {
        var identity: TLSIdentity?
        var renewAt: Date?
        var authorityID: String?
    }

    private let core: ServerCore
    private let state = Mutex(State())

    init(core: ServerCore) {
        self.core = core
    }

    /// What the next connection is served with.
    ///
    /// - Throws: `TLSIdentityError.chainEmpty` before the first certificate.
    func current() throws -> TLSIdentity {
        guard let identity = state.withLock({ $0.identity }) else {
            throw TLSIdentityError.chainEmpty
        }
        return identity
    }

    /// Makes a key and a certificate.
    func renew() async throws {
        let key = try OwnKey()
        let issuedAt = core.clock.wallTime
        let (chain, certificate) = try await core.signOwn(csr: key.csr, for: .server)
        let identity = try TLSIdentity(certificateChain: chain, privateKeyPKCS8: key.pkcs8)
        var generator = core.randomness
        let renewAt = renewalTime(
            issuedAt: issuedAt,
            notAfter: certificate.notAfter,
            jitter: &generator
        )
        state.withLock {
            $0 = State(
                identity: identity,
                renewAt: renewAt,
                authorityID: certificate.authorityID
            )
        }
        core.health.met("identity")
    }

    /// Renews until cancelled.
    func run() async {
        while !Task.isCancelled {
            if takeOrder() { state.withLock { $0.renewAt = nil } }
            let (planned, authorityID) = state.withLock { ($0.renewAt, $0.authorityID) }
            // Agents talk to nobody whose authority they know to be distrusted.
            let isDistrusted = authorityID.map(core.isDistrusted) ?? false
            let renewAt = isDistrusted ? core.clock.wallTime : planned ?? core.clock.wallTime
            let left = renewAt.timeIntervalSince(core.clock.wallTime)
            if left <= 0 {
                do {
                    try await renew()
                } catch {
                    core.health.unmet("identity", reason: "\(error)")
                    core.logger.error(
                        "the server's own certificate cannot be renewed",
                        metadata: ["error": "\(error)"]
                    )
                    try? await core.clock.sleep(
                        untilBoot: core.clock.bootTime + Self.retryInterval
                    )
                }
                continue
            }
            // Bounded, so that a step of the wall clock is noticed.
            let pause = min(.seconds(left), RotationService.checkInterval)
            await core.distrustChanged.wait(until: core.clock.bootTime + pause, core.clock)
        }
    }

    /// Whether somebody wants it to be renewed now.
    private func takeOrder() -> Bool {
        core.identityDue.withLock { isDue in
            defer { isDue = false }
            return isDue
        }
    }
}
