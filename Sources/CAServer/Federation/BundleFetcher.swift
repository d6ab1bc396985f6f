// SPDX-License-Identifier: Apache-2.0

internal import AuditLog
internal import BundleClient
internal import Clocks
internal import ControlAPI
internal import Crypto
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import Logging
internal import PolicyDocuments
internal import SPIFFE

/// Makes one fetch, from what is on record to what is on record then.
struct BundleFetcher: Sendable {
    /// How long after a leaf told of a refusal another one tells of the same.
    static let refusalInterval: Duration = .seconds(3600)
    /// Largest file of web authorities: that of a system has half of it.
    static let rootsBytesMax = 1 << 20

    let core: ServerCore
    let client: HTTPSClient

    /// Fetches a bundle, judges it and writes what comes of it.
    ///
    /// - Parameters:
    ///   - fetch: Whose, and for which version of its document.
    ///   - wish: Of the admin who asked for it; nil: nobody did.
    ///   - refusalsOnRecord: When leaves told of refusals last, by their reason.
    /// - Returns: What came of it.
    func fetch(
        _ fetch: FederationSchedule.Fetch,
        for wish: FederationDesk.Wish?,
        refusalsOnRecord: [String: Duration]
    ) async -> FetchReport {
        let report = await attempt(fetch, wish, refusalsOnRecord)
        log(fetch.trustDomain, report)
        return report
    }

    private func attempt(
        _ fetch: FederationSchedule.Fetch,
        _ wish: FederationDesk.Wish?,
        _ refusalsOnRecord: [String: Duration]
    ) async -> FetchReport {
        let (logic, specs) = (core.logic, core.federation.specs)
        let partners: [FederatedPartner]
        do {
            partners = try await core.read { try logic.partners(in: $0, knowing: specs) }
        } catch {
            return FetchReport("unavailable", error.message, .failed)
        }
        let partner = partners.first { $0.trustDomain == fetch.trustDomain }
        guard let partner, let spec = partner.spec, partner.version == fetch.version else {
            return Self.superseded
        }
        let bytes: [UInt8]
        do throws(BundleFetchError) {
            bytes = try await client.fetch(try request(for: partner, spec, among: partners))
        } catch {
            guard !Task.isCancelled else { return Self.superseded }
            return await failed(partner, FetchReport(error.reason.rawValue, error.detail, .failed))
        }
        let fetched: FetchedBundle
        do throws(BundleDocumentError) {
            fetched = try FetchedBundle(bytes, of: partner.trustDomain)
        } catch {
            var report = FetchReport("documentMalformed", error.description, .failed)
            report.isRefused = true
            return await refused(partner, report, bytes, sequence: nil, refusalsOnRecord)
        }
        return await take(fetched, bytes, partner, fetch, wish, refusalsOnRecord)
    }

    /// Nothing came of it that says anything of the partner.
    private static var superseded: FetchReport {
        var report = FetchReport(
            "superseded",
            "the document was changed during the fetch",
            .failed
        )
        report.isSuperseded = true
        return report
    }

    private func request(
        for partner: FederatedPartner,
        _ spec: FederatedTrustDomainSpec,
        among partners: [FederatedPartner]
    ) throws(BundleFetchError) -> BundleRequest {
        let trust: EndpointTrust
        switch spec.bundleEndpointProfile {
        case .web: trust = .web(roots: try roots())
        case .spiffe(let id, _):
            let known = Dictionary(
                partners.map { ($0.trustDomain, $0) },
                uniquingKeysWith: { first, _ in first }
            )
            guard let bundle = partner.endpointBundle(among: known) else {
                throw BundleFetchError(
                    .endpointUntrusted,
                    "there is no bundle of \(id.trustDomain) to verify its endpoint with"
                )
            }
            trust = .spiffe(id, PeerVerifier(bundles: [bundle.trustDomain: bundle]))
        }
        return BundleRequest(
            url: spec.bundleEndpointURL,
            trust: trust,
            networks: core.configuration.fetchNetworks,
            now: core.clock.wallTime
        )
    }

    /// Read for each fetch, so that the file can be replaced.
    private func roots() throws(BundleFetchError) -> [UInt8]? {
        guard let path = core.configuration.federationRoots else { return nil }
        do {
            return try Self.roots(path)
        } catch {
            throw BundleFetchError(.endpointUntrusted, "federationRoots: \(error)")
        }
    }

    /// Reads the file of web authorities.
    ///
    /// - Throws: `FileError`.
    static func roots(_ path: String) throws(FileError) -> [UInt8] {
        try DurableFile.read(path, bytesMax: rootsBytesMax)
    }

    private func take(
        _ fetched: FetchedBundle,
        _ bytes: [UInt8],
        _ partner: FederatedPartner,
        _ fetch: FederationSchedule.Fetch,
        _ wish: FederationDesk.Wish?,
        _ refusalsOnRecord: [String: Duration]
    ) async -> FetchReport {
        let (logic, now) = (core.logic, core.clock.wallTime)
        let result: FederationResult
        do {
            // It may have jumped since the fetch began.
            try await core.requireClock()
            result = try await core.write { transaction in
                // Only who is judged here takes what its sequence forbids.
                let admin = try wish?.admin(in: transaction)
                return try logic.take(
                    fetched,
                    of: partner,
                    asking: admin == nil ? .schedule : fetch.asking,
                    by: admin ?? ServerLogic.federator,
                    now: now,
                    in: transaction
                )
            }
        } catch {
            var report = FetchReport("unavailable", error.message, .failed)
            if wish != nil { report.denial = error }
            return report
        }
        var report: FetchReport
        let seconds = fetched.document.refreshSeconds
        switch result {
        case .confirmed:
            report = FetchReport("confirmed", nil, .fetched(refreshSeconds: seconds))
            report.isShownAnew = partner.record.shownDocument == nil
        case .taken(let isSequenceReused):
            report = FetchReport("taken", nil, .fetched(refreshSeconds: seconds))
            report.isSequenceReused = isSequenceReused
            report.isShownAnew = partner.record.shownDocument == nil
        case .postponed(let until):
            let delay = max(0, until.timeIntervalSince(now))
            report = FetchReport("postponed", nil, .postponed(for: .seconds(delay)))
        case .superseded: return Self.superseded
        case .refused(let refusal):
            report = FetchReport(refusal.rawValue, refusal.description, .failed)
            report.isRefused = true
            let sequence = fetched.document.sequenceNumber
            report = await refused(
                partner,
                report,
                bytes,
                sequence: sequence,
                refusalsOnRecord
            )
        }
        report.details = fetched.details
        return report
    }

    /// What the endpoint serves is not believed: a leaf tells of it, at most hourly.
    private func refused(
        _ partner: FederatedPartner,
        _ report: FetchReport,
        _ bytes: [UInt8],
        sequence: UInt64?,
        _ refusalsOnRecord: [String: Duration]
    ) async -> FetchReport {
        var report = report
        let (now, boot) = (core.clock.wallTime, core.clock.bootTime)
        let isDue = refusalsOnRecord[report.result].map { $0 + Self.refusalInterval <= boot }
        if isDue ?? true {
            let refusal = FederatedBundleRefusal(
                trustDomain: partner.trustDomain,
                reason: report.result,
                sequenceNumber: sequence,
                documentSHA256: Array(SHA256.hash(data: bytes))
            )
            report.isOnRecord = await record(refusal, at: now)
        }
        return await failed(partner, report)
    }

    /// Writes the leaf of a refusal.
    ///
    /// - Returns: Whether it is on record; if not, the next refusal is told.
    private func record(_ refusal: FederatedBundleRefusal, at now: Date) async -> Bool {
        let logic = core.logic
        do {
            // It may have jumped since the fetch began, and leaves do not go back in time.
            try await core.requireClock()
            _ = try await core.write { transaction in
                if let problem = try logic.clockProblem(now, in: transaction) {
                    throw APIError(problem)
                }
                return try transaction.append(
                    .federatedBundleRefused(refusal),
                    by: ServerLogic.federator,
                    at: now
                )
            }
            return true
        } catch {
            // Health tells of the clock, and of the datastore; the log of each refusal.
            return false
        }
    }

    /// Nothing was taken: what is believed may be too old by now.
    private func failed(_ partner: FederatedPartner, _ report: FetchReport) async -> FetchReport {
        await core.withholdIfStale(partner)
        return report
    }

    /// One line of the log for each fetch (SPIFFE Federation section 7.6).
    private func log(_ trustDomain: TrustDomain, _ report: FetchReport) {
        var metadata = report.details
        metadata["trustDomain"] = "\(trustDomain)"
        metadata["result"] = "\(report.result)"
        guard let problem = report.problem, !report.isSuperseded else {
            core.logger.info(
                "the bundle of another trust domain was fetched",
                metadata: metadata
            )
            return
        }
        metadata["problem"] = "\(problem)"
        core.logger.warning(
            "the bundle of another trust domain was not taken",
            metadata: metadata
        )
    }
}

extension FetchedBundle {
    /// What the log has of it.
    fileprivate var details: Logger.Metadata {
        [
            "sequence": "\(document.sequenceNumber.map(\.description) ?? "none")",
            "leftOutKeys": "\(document.leftOut.count)",
        ]
    }
}

extension ServerCore {
    /// Withholds the bundle of a partner if it is believed for too long already.
    ///
    /// - Returns: Whether it is withheld from now on.
    @discardableResult
    func withholdIfStale(_ partner: FederatedPartner) async -> Bool {
        let (logic, now) = (logic, clock.wallTime)
        guard partner.mustBeWithheld(now: now) else { return false }
        do {
            // A clock that has jumped would take away everybody's.
            try await requireClock()
            let isWithheld = try await write { transaction in
                try logic.withholdIfStale(partner, now: now, in: transaction)
            }
            guard isWithheld else { return false }
        } catch {
            // Health tells of the clock, and of the datastore.
            return false
        }
        logger.error(
            "the bundle of another trust domain is withheld: it could not be fetched for too long",
            metadata: ["trustDomain": "\(partner.trustDomain)"]
        )
        return true
    }
}
