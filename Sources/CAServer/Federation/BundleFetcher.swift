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
    ///   - permit: Judges the admin who asked for it; nil: nobody did.
    ///   - refusalsOnRecord: When leaves told of refusals last, by their reason.
    /// - Returns: What came of it.
    func fetch(
        _ fetch: FederationSchedule.Fetch,
        permit: ActPermit?,
        refusalsOnRecord: [String: Duration]
    ) async -> FetchReport {
        let logic = core.logic
        let partners: [FederatedPartner]
        do {
            partners = try await core.read { try logic.partners(in: $0) }
        } catch {
            return FetchReport("unavailable", error.message, .failed)
        }
        let partner = partners.first { $0.trustDomain == fetch.trustDomain }
        guard let partner, partner.version == fetch.version else { return Self.superseded }
        let bytes: [UInt8]
        do throws(BundleFetchError) {
            bytes = try await client.fetch(try request(for: partner, among: partners))
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
        return await take(fetched, bytes, partner, fetch, permit, refusalsOnRecord)
    }

    /// Nothing came of it that anybody needs to know.
    private static let superseded = FetchReport(
        "superseded",
        "the document was changed during the fetch",
        .failed
    )

    private func request(
        for partner: FederatedPartner,
        among partners: [FederatedPartner]
    ) throws(BundleFetchError) -> BundleRequest {
        let trust: EndpointTrust
        switch partner.spec.bundleEndpointProfile {
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
            url: partner.spec.bundleEndpointURL,
            trust: trust,
            networks: core.configuration.fetchNetworks,
            now: core.clock.wallTime
        )
    }

    /// Read for each fetch, so that the file can be replaced.
    private func roots() throws(BundleFetchError) -> [UInt8]? {
        guard let path = core.configuration.federationRoots else { return nil }
        do {
            return try DurableFile.read(path, bytesMax: Self.rootsBytesMax)
        } catch {
            throw BundleFetchError(.endpointUntrusted, "federationRoots: \(error)")
        }
    }

    private func take(
        _ fetched: FetchedBundle,
        _ bytes: [UInt8],
        _ partner: FederatedPartner,
        _ fetch: FederationSchedule.Fetch,
        _ permit: ActPermit?,
        _ refusalsOnRecord: [String: Duration]
    ) async -> FetchReport {
        let (logic, now) = (core.logic, core.clock.wallTime)
        let result: FederationResult
        do {
            result = try await core.write { transaction in
                try logic.take(
                    fetched,
                    of: partner,
                    // Only who is judged here takes what its sequence forbids.
                    asking: permit == nil ? .schedule : fetch.asking,
                    by: try permit?(transaction) ?? ServerLogic.federator,
                    now: now,
                    in: transaction
                )
            }
        } catch {
            var report = FetchReport("unavailable", error.message, .failed)
            if permit != nil { report.denial = error }
            return report
        }
        let seconds = fetched.document.refreshSeconds
        switch result {
        case .confirmed:
            log(partner, "confirmed", fetched.document)
            return FetchReport("confirmed", nil, .fetched(refreshSeconds: seconds))
        case .taken(let isSequenceReused):
            log(partner, "taken", fetched.document)
            var report = FetchReport("taken", nil, .fetched(refreshSeconds: seconds))
            report.isSequenceReused = isSequenceReused
            return report
        case .postponed(let until):
            log(partner, "postponed", fetched.document)
            let delay = max(0, until.timeIntervalSince(now))
            return FetchReport("postponed", nil, .postponed(for: .seconds(delay)))
        case .superseded: return Self.superseded
        case .refused(let refusal):
            var report = FetchReport(refusal.rawValue, refusal.description, .failed)
            report.isRefused = true
            let sequence = fetched.document.sequenceNumber
            return await refused(partner, report, bytes, sequence: sequence, refusalsOnRecord)
        }
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
            let leaf = try? await core.write { transaction in
                try transaction.append(
                    .federatedBundleRefused(refusal),
                    by: ServerLogic.federator,
                    at: now
                )
            }
            report.isOnRecord = leaf != nil
        }
        return await failed(partner, report)
    }

    /// Nothing was taken: what is believed may be too old by now.
    private func failed(_ partner: FederatedPartner, _ report: FetchReport) async -> FetchReport {
        let (logic, now) = (core.logic, core.clock.wallTime)
        core.logger.warning(
            "the bundle of another trust domain was not taken",
            metadata: [
                "trustDomain": "\(partner.trustDomain)", "result": "\(report.result)",
                "problem": "\(report.problem ?? "")",
            ]
        )
        guard partner.mustBeWithheld(now: now) else { return report }
        let isWithheld = try? await core.write { transaction in
            try logic.withholdIfStale(partner, now: now, in: transaction)
        }
        if isWithheld == true {
            core.logger.error(
                "the bundle of another trust domain is withheld: it could not be fetched for too long",
                metadata: ["trustDomain": "\(partner.trustDomain)"]
            )
        }
        return report
    }

    private func log(_ partner: FederatedPartner, _ result: String, _ document: BundleDocument) {
        core.logger.info(
            "the bundle of another trust domain was fetched",
            metadata: [
                "trustDomain": "\(partner.trustDomain)", "result": "\(result)",
                "sequence": "\(document.sequenceNumber.map(\.description) ?? "none")",
                "leftOutKeys": "\(document.leftOut.count)",
            ]
        )
    }
}
