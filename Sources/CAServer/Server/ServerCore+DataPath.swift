// SPDX-License-Identifier: Apache-2.0

internal import Clocks
package import ControlAPI
internal import Datastore
package import FoundationEssentials
internal import Logging
internal import NodeSync
internal import Telemetry

/// What changes about revocations and proxies because time passes.
extension ServerCore {
    /// Revocations forgotten by one transaction: a few milliseconds in which other writes wait.
    static let revocationsEndedMax = 500

    /// Proxies composed anew by one transaction because something of them expired.
    static let proxiesRefreshedMax = 50

    /// Composes the states of all proxies, as this release does it from what is stored.
    func refreshProxies() async throws(APIError) {
        let now = clock.wallTime
        guard try await read({ try $0.proxyCount() }) > 0 else { return }
        let problems = try await write { transaction in
            try transaction.refresh(transaction.proxies(), now: now)
        }
        report(problems)
    }

    /// Composes the states of proxies of which something expired meanwhile.
    package func refreshExpiredProxies(now: Date) async throws(APIError) {
        let limit = Self.proxiesRefreshedMax
        // Looked at each minute, so without anything to do nothing is written.
        while try await !read({ try $0.proxies(changingBy: now, limit: 1) }).isEmpty {
            let (count, problems) = try await write { transaction in
                let due = try transaction.proxies(changingBy: now, limit: limit)
                return (due.count, try transaction.refresh(due, now: now))
            }
            report(problems)
            guard count == limit else { return }
        }
    }

    private func report(_ problems: [String]) {
        for problem in problems {
            logger.error("a Proxy keeps the state it has", metadata: ["reason": "\(problem)"])
        }
    }

    /// Forgets revocations of which nothing is left that they refuse.
    ///
    /// - Throws: `APIError`; what was forgotten before stays forgotten.
    package func endRevocations(now: Date) async throws(APIError) {
        while try await read({ try $0.hasRevocation(endedBy: now) }) {
            let (ended, left) = try await write { transaction in
                let ended = try transaction.endRevocations(by: now, limit: Self.revocationsEndedMax)
                return (ended.count, ended.isEmpty ? 0 : try transaction.revocationCount())
            }
            if ended > 0 { metrics.set(.revocations, to: Double(left)) }
        }
        while try await read({ try $0.hasRevokedCertificate(endedBy: now) }) {
            let (ended, left) = try await write { transaction in
                let ended = try transaction.endRevokedCertificates(
                    by: now,
                    limit: Self.revocationsEndedMax
                )
                return (ended, ended.isEmpty ? 0 : try transaction.revokedCertificateCount())
            }
            forgotten(ended)
            if !ended.isEmpty { metrics.set(.revokedCertificates, to: Double(left)) }
        }
    }
}

extension Transaction {
    /// How long a Proxy that cannot be composed is left alone.
    private static let refreshRetrySeconds: TimeInterval = 60

    /// Composes the states of Proxies from what is stored, and records those that differ.
    ///
    /// No document was written, so there is nobody to refuse anything to: a Proxy that cannot be
    /// composed keeps what it has.
    ///
    /// - Returns: why some could not.
    func refresh(_ proxies: [ProxyRecord], now: Date) throws -> [String] {
        var composer = ProxyComposer(in: self, now: now)
        var problems: [String] = []
        for proxy in proxies {
            do {
                guard let document = try document(proxy.key) else { continue }
                let composition = try composer.compose(document)
                if let problem = composition.problems.first(where: { !$0.isForWantOfEntry }) {
                    let sentence = problem.sentence(namespace: proxy.namespace)
                    throw APIError(.failedPrecondition, problem.rule, sentence)
                }
                if composition.record.state != proxy.state {
                    try put(composition.record, number: advanceRevision().number)
                } else if composition.record.changesAt != proxy.changesAt {
                    try setChange(of: proxy.id, at: composition.record.changesAt)
                }
            } catch let error as DatastoreError {
                throw error
            } catch {
                problems.append("Proxy \(proxy.reference): \(error)")
                // Not in this round again.
                try setChange(of: proxy.id, at: now.addingTimeInterval(Self.refreshRetrySeconds))
            }
        }
        return problems
    }
}
