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
final class FederationEndpoint: Sendable {
    /// What health says of it.
    static let condition = "federationEndpoint"

    private struct State {
        var pair: CertificatePair?
        var shown: EndpointRenewal?
    }

    private let core: ServerCore
    private let address: ServerAddress
    private let stand: PublicStand
    private let state = Mutex(State())
    private let toldToWait = LastTold()

    /// Makes sure that the server can listen.
    ///
    /// - Returns: nil when it is no bundle endpoint.
    /// - Throws: `ListenerError`: what the configuration says cannot be done.
    init?(_ core: ServerCore) throws {
        guard let address = core.configuration.federationListen else { return nil }
        (self.core, self.address) = (core, address)
        stand = PublicStand(
            core,
            .init(
                condition: Self.condition,
                listener: "the bundle endpoint",
                strangers: "partners"
            )
        )
        try address.requireListenable()
    }

    /// Serves until cancelled.
    func run() async {
        let core = core
        await stand.run(door) { shown in
            let changed = try await core.read { transaction -> (UInt64, TrustBundle)? in
                let number = try transaction.bundleSequenceNumber()
                guard number != shown else { return nil }
                return try SyncContent.bundle(in: transaction).map { (number, $0) }
            }
            guard let (number, bundle) = changed else { return nil }
            var pages = PublicPages(below: nil)
            pages.set(.bundle(try bundle.document()), as: .bundle)
            return PublicStand.Made(version: number, pages: pages, problem: nil)
        }
        core.federationPort = nil
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
            stand.changed(.closed("there is no certificate yet"))
            return nil
        }
        return .tls(host: address.host, port: address.port) { [self] in
            state.withLock { $0.pair }
        }
    }

    private func changed(_ change: PublicDoor.Change) {
        switch change {
        case .closed: core.federationPort = nil
        case .looked: break
        case .opened(let port):
            let port = port ?? address.port
            core.federationPort = port
            let place = ServerAddress(host: address.host, port: port)
            core.logger.notice(
                "partners are served the bundle",
                metadata: ["address": "\(place)", "id": "\(id)"]
            )
        }
        stand.changed(change)
    }

    private var id: String { "spiffe://\(core.logic.trustDomain)\(SPIFFEID.bundleEndpointPath)" }

    private var service: PublicService {
        let metrics = core.metrics
        return stand.service { event in
            switch event {
            case .answered(_, let status): metrics.increment(.federationResponses, "\(status)")
            case .closed(let reason): metrics.increment(.federationClosings, reason.rawValue)
            }
        }
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
            stand.note([])
        } catch {
            // Partners may not know the one that signs since: the next look decides anew.
            if (error as? APIError)?.reason == APIError.authorityChanged, shown != nil { return }
            stand.note(["its certificate cannot be made: \(error)"])
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
}
