// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import GRPCPeer
internal import Issuance
internal import Logging
internal import PublicEndpoint
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// Serves the trust domain's bundle to partners that know its endpoint by an SVID (https_spiffe,
/// docs/decisions/0021-federation.md, "Being fetched").
///
/// Whatever becomes of it, agents are served: its task ends with the server and never ends it.
final class FederationEndpoint: Sendable {
    /// How often it is looked whether the bundle has changed, which one row says; several acts
    /// change it, and other servers.
    static let lookInterval: Duration = .seconds(1)
    /// What health says of it; the server is ready without it.
    static let condition = "federationEndpoint"

    private struct State {
        var pages: PublicPages?
        var pair: CertificatePair?
        var shown: EndpointRenewal?
        /// Why the certificate was not made anew.
        var unrenewed: String?
        /// Why the document is not what it should be.
        var stale: String?
        /// Why the listener is closed.
        var closed: String?
    }

    private let core: ServerCore
    private let address: ServerAddress
    private let state = Mutex(State(closed: "the listener is not open yet"))
    private let counts = PublicCounts()
    private let told = LastTold()
    private let toldToWait = LastTold()

    /// Makes sure that the server can listen.
    ///
    /// - Returns: nil when it is no bundle endpoint.
    /// - Throws: `ListenerError`: what the configuration says cannot be done.
    init?(_ core: ServerCore) throws {
        guard let address = core.configuration.federationListen else { return nil }
        (self.core, self.address) = (core, address)
        try address.requireListenable()
    }

    /// Serves until cancelled.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.publish() }
            group.addTask { await self.counts.summarize("partners", self.core) }
            group.addTask { await self.door.run() }
        }
        core.federationPort = nil
    }

    // MARK: - The document

    /// Makes the document anew whenever the bundle changes.
    private func publish() async {
        var served: UInt64?
        while !Task.isCancelled {
            do {
                let known = served
                let changed = try await core.read { transaction -> (UInt64, TrustBundle)? in
                    let number = try transaction.bundleSequenceNumber()
                    guard number != known else { return nil }
                    return try SyncContent.bundle(in: transaction).map { (number, $0) }
                }
                if let (number, bundle) = changed {
                    var pages = PublicPages(below: nil)
                    pages.set(.bundle(try bundle.document()), as: .bundle)
                    state.withLock { [pages] in $0.pages = pages }
                    served = number
                }
                tell(stale: nil)
            } catch {
                // What is served stays; it is tried again at each look.
                tell(stale: "the bundle's document cannot be made: \(error)")
            }
            try? await core.clock.sleep(untilBoot: core.clock.bootTime + Self.lookInterval)
        }
    }

    // MARK: - The listener

    private var door: PublicDoor {
        PublicDoor(
            core: core,
            address: address.description,
            service: service,
            place: { [self] in await place() },
            look: { [self] in await renewIfDue() },
            changed: { [self] in changed($0) }
        )
    }

    /// Where to listen; nil while there is no certificate to do it with.
    private func place() async -> PublicListener.Place? {
        await renewIfDue()
        guard state.withLock({ $0.pair }) != nil else {
            state.withLock { $0.closed = "there is no certificate yet" }
            return nil
        }
        return .tls(host: address.host, port: address.port) { [self] in
            state.withLock { $0.pair }
        }
    }

    private func changed(_ change: PublicDoor.Change) {
        switch change {
        case .closed(let reason):
            core.federationPort = nil
            state.withLock { $0.closed = reason }
        case .looked: tell()
        case .opened(let port):
            let port = port ?? address.port
            core.federationPort = port
            state.withLock { $0.closed = nil }
            let place = ServerAddress(host: address.host, port: port)
            core.logger.notice(
                "partners are served the bundle",
                metadata: ["address": "\(place)", "id": "\(id)"]
            )
            tell()
        }
    }

    private var id: String { "spiffe://\(core.logic.trustDomain)\(SPIFFEID.bundleEndpointPath)" }

    private var service: PublicService {
        let (core, counts) = (core, counts)
        return PublicService(
            pages: { [self] in state.withLock { $0.pages } },
            wallTime: { core.believedWallTime },
            bootTime: { core.clock.bootTime },
            observe: { event in
                counts.add(event)
                switch event {
                case .answered(_, let status):
                    core.metrics.increment(.federationResponses, "\(status)")
                case .closed(let reason):
                    core.metrics.increment(.federationClosings, reason.rawValue)
                }
            }
        )
    }

    // MARK: - The certificate

    /// Makes key and certificate anew when it is time; only the listener's task does.
    private func renewIfDue() async {
        let (now, shown) = (core.clock.wallTime, state.withLock { $0.shown })
        do {
            let trust = try core.trust
            let signerID = trust.issuer.authority.id
            let step = EndpointRenewal.step(
                present: shown,
                isDistrusted: shown.map { core.isDistrusted($0.authorityID) } ?? false,
                signerID: signerID,
                anchor: trust.anchor,
                hold: core.logic.hold,
                now: now
            )
            tell(waiting: step)
            if step == .renew { try await renew(by: signerID, below: trust.anchor.id, now: now) }
            state.withLock { $0.unrenewed = nil }
        } catch {
            // Partners may not know the one that signs since: the next look decides anew.
            if (error as? APIError)?.reason == APIError.authorityChanged, shown != nil { return }
            state.withLock { $0.unrenewed = "its certificate cannot be made: \(error)" }
        }
    }

    private func renew(by authorityID: String, below anchorID: String, now: Date) async throws {
        let key = try OwnKey()
        let (chain, certificate) = try await core.signOwn(
            csr: key.csr,
            for: .bundleEndpoint(authorityID: authorityID)
        )
        let pair = try CertificatePair(svid: chain, privateKey: key.pkcs8)
        var generator = core.randomness
        let renewAt = renewalTime(
            issuedAt: now,
            notAfter: certificate.notAfter,
            jitter: &generator
        )
        state.withLock {
            $0.pair = pair
            $0.shown = EndpointRenewal(
                authorityID: certificate.authorityID,
                anchorID: anchorID,
                renewAt: renewAt,
                notBefore: certificate.notBefore,
                notAfter: certificate.notAfter
            )
        }
    }

    // MARK: - What is said of it

    /// Says in the log when the certificate is kept for those who do not know its successor's
    /// authority or its root.
    private func tell(waiting step: EndpointRenewal.Step) {
        guard case .wait(let date) = step else {
            _ = toldToWait.isNews(nil)
            return
        }
        let until = date.formatted(.iso8601)
        guard toldToWait.isNews(until) else { return }
        core.logger.notice(
            "the bundle endpoint keeps its certificate until partners know the next path",
            metadata: ["until": "\(until)"]
        )
    }

    /// Says that the document is not what it should be, or is again.
    private func tell(stale problem: String?) {
        let isNews = state.withLock { state in
            defer { state.stale = problem }
            return state.stale != problem
        }
        if isNews { tell() }
    }

    /// Says in health and, when it changes, in the log what is wrong.
    private func tell() {
        let parts = state.withLock { [$0.closed, $0.stale, $0.unrenewed].compactMap(\.self) }
        let problem = parts.isEmpty ? nil : parts.joined(separator: "; ")
        let isNews = told.isNews(problem)
        guard let problem else {
            core.health.met(Self.condition)
            if isNews { core.logger.notice("the bundle endpoint is as it should be") }
            return
        }
        core.health.unmet(Self.condition, reason: problem)
        if isNews {
            core.logger.warning("the bundle endpoint", metadata: ["problem": "\(problem)"])
        }
    }
}
