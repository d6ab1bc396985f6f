// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import SPIFFE
internal import Synchronization

/// What is above authorities, as the configuration or the upstream says it.
extension ServerCore {
    /// Deletes the records of what was above authorities and has ended.
    ///
    /// - Throws: `APIError`.
    func forgetUpstreams(now: Date) async throws(APIError) {
        let logic = logic
        guard try await read({ try logic.hasForgettableUpstream(now: now, in: $0) }) else { return }
        let forgotten = try await write { try logic.forgetUpstreams(now: now, in: $0) }
        if !forgotten.isEmpty { await refreshTrust() }
    }

    /// DER of the roots that are configured, or that the upstream names, and have not ended.
    func livingRoots(at now: Date) -> [[UInt8]] {
        upstreamTrust.withLock { $0 }?.roots(livingAt: now) ?? []
    }

    /// The key IDs of the roots that are configured, or that the upstream names.
    var configuredRoots: Set<String> {
        UpstreamTrust.keyIDs(of: livingRoots(at: clock.wallTime))
    }

    /// Records what the upstream certifies with, though nothing is published below it yet: whoever
    /// has its key makes authorities with it, so that it can be tainted and revoked.
    func recordAbove() async {
        let (logic, now) = (logic, clock.wallTime)
        let roots = upstreamTrust.withLock { $0 }?.roots ?? []
        guard let chain = upstream?.above, let last = chain.last,
            let root = UpstreamChain.root(above: last, among: roots)
        else { return }
        do {
            try await AuthorityPath.check(chain, to: root, of: logic.trustDomain, now: now)
        } catch {
            // Nobody believes what is below; the next authority's refusal says why.
            return
        }
        do throws(APIError) {
            let isKnown = try await read { transaction in
                try logic.unrecorded(chain, now: now, in: transaction).isEmpty
            }
            guard !isKnown else { return }
            try await write { transaction in
                for record in try logic.unrecorded(chain, now: now, in: transaction) {
                    try transaction.put(record)
                }
            }
        } catch {
            logger.error(
                "what is above authorities cannot be recorded",
                metadata: ["error": "\(error)"]
            )
        }
    }

    /// Why nothing could be published below the certificate that a ceremony made, as the file is now.
    ///
    /// - Returns: A sentence with what to do; nil if nothing is wrong, nothing can be told by this
    ///   clock, or there is none that can be read, as whoever asks for an authority is told.
    func problemAbove() async -> String? {
        guard configuration.upstream == .disk, let path = configuration.upstreamCertificate,
            let chain = upstream?.above, let last = chain.last, await isClockBelieved()
        else { return nil }
        let roots = upstreamTrust.withLock { $0 }?.roots ?? []
        let problem: UpstreamRefusal
        if let root = UpstreamChain.root(above: last, among: roots) {
            do {
                try await AuthorityPath.check(
                    chain,
                    to: root,
                    of: logic.trustDomain,
                    now: clock.wallTime
                )
                return nil
            } catch { problem = .pathRefused("\(error)") }
        } else {
            problem = .rootUnknown
        }
        return
            "upstreamCertificate: \(path) is of no use: \(problem); have the key certified below a "
            + "root of upstreamRoots (pki/README.md)"
    }

    /// Publishes and removes roots as the upstream, or the configuration, names them.
    ///
    /// - Throws: `APIError`.
    func settleRoots() async throws(APIError) {
        guard let trust = upstreamTrust.withLock({ $0 }) else { return }
        let (logic, now) = (logic, clock.wallTime)
        let roots = trust.roots(livingAt: now)
        let revoked = upstreamNamed.withLock { $0 } ?? []
        let isNeeded = try await read {
            try !logic.rootChanges(roots, without: revoked, in: $0).isEmpty
        }
        guard isNeeded else { return }
        let changes = try await write {
            try logic.settleRoots(roots, without: revoked, now: now, in: $0)
        }
        await refreshTrust()
        for id in changes.published.map(\.id) {
            logger.notice("a root was published", metadata: ["root": "\(id)"])
        }
        for root in changes.removed {
            logger.notice("a root was removed", metadata: ["root": "\(root.id)"])
        }
    }

    /// The same while it serves: what cannot be done now is told once, and done later.
    func settleRootsOrTell() async {
        guard await isClockBelieved() else { return }
        do throws(APIError) {
            try await settleRoots()
            _ = rootsTold.isNews(nil)
        } catch {
            guard rootsTold.isNews("\(error)") else { return }
            logger.error(
                "roots cannot be published or removed; it is tried again each minute",
                metadata: ["error": "\(error)"]
            )
        }
    }
}
