// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Datastore
internal import DurableFiles
internal import FoundationEssentials
internal import GRPCPeer
internal import Logging
internal import PublicEndpoint
internal import SPIFFE
internal import Synchronization
internal import Telemetry

/// Serves verifiers outside (docs/decisions/0019-discovery-for-verifiers-outside.md).
final class Publication: Sendable {
    /// What health says of it.
    static let condition = "publicEndpoint"

    private let core: ServerCore
    private let url: PublicURL
    private let address: PublicAddress
    private let socket: UnixSocketFile?
    /// The socket that was opened at the start, until the listener has it.
    private let opened: Mutex<Int32?>
    private let stand: PublicStand
    private let keeper = Mutex(CertificateKeeper())

    /// Makes sure that the server can listen.
    ///
    /// - Returns: nil when the server serves nobody outside.
    /// - Throws: `ListenerError` or `FileError`: what the configuration says cannot be done.
    init?(_ core: ServerCore) throws {
        guard let url = core.configuration.publicURL, let address = core.configuration.publicListen
        else { return nil }
        (self.core, self.url, self.address) = (core, url, address)
        stand = PublicStand(
            core,
            .init(
                condition: Self.condition,
                listener: "the public endpoint",
                strangers: "verifiers outside"
            )
        )
        switch address {
        case .socket(let path):
            let file = UnixSocketFile(path: path, mode: 0o666)
            socket = file
            opened = Mutex(try Self.listen(file))
        case .tls(let address):
            try address.requireListenable()
            socket = nil
            opened = Mutex(nil)
        }
    }

    /// Serves until cancelled.
    func run() async {
        let core = core
        let hasLists = core.configuration.servedDocuments.contains(.crl)
        await stand.run(door) { [self] shown in
            let content = try await core.read {
                try Self.content(hasLists: hasLists, otherThan: shown, in: $0)
            }
            return content.map { made($0) }
        }
    }

    // MARK: - Documents

    /// What the documents say, and by what it is known whether they still say it.
    private struct Content: Sendable {
        struct Version: Hashable, Sendable {
            let sequenceNumber: UInt64
            /// When each list begins, by the IDs of their authorities; empty if none is served.
            let lists: [String: Date]
        }

        let version: Version
        let bundle: TrustBundle
        let lists: [RevocationListRecord]
    }

    /// Bundle and lists, if they are not what is known.
    private static func content(
        hasLists: Bool,
        otherThan known: Content.Version?,
        in transaction: ReadTransaction
    ) throws -> Content? {
        let version = Content.Version(
            sequenceNumber: try transaction.bundleSequenceNumber(),
            lists: hasLists ? try transaction.revocationListBeginnings() : [:]
        )
        guard version != known, let bundle = try SyncContent.bundle(in: transaction) else {
            return nil
        }
        return Content(
            version: version,
            bundle: bundle,
            lists: hasLists ? try transaction.revocationLists() : []
        )
    }

    /// The documents, and why one of them is missing.
    private func made(_ content: Content) -> PublicStand.Made<Content.Version> {
        let bundle = content.bundle
        var pages = PublicPages(below: url)
        let served = core.configuration.servedDocuments
        if served.contains(.oidc) {
            pages.set(.discovery(of: url), as: .discovery)
            pages.set(.keys(bundle.jwtAuthorities), as: .keys)
            if core.configuration.exchangesTokens {
                pages.set(.delegatedDiscovery(of: url), as: .delegatedDiscovery)
            }
        }
        var problem: String?
        if served.contains(.bundle) {
            do throws(BundleDocumentError) {
                pages.set(.bundle(try bundle.document()), as: .bundle)
            } catch {
                problem = "the bundle's document cannot be made: \(error)"
            }
        }
        if served.contains(.crl) {
            for list in content.lists {
                pages.set(
                    .list(list.der, nextUpdate: list.nextUpdate),
                    as: .list(authorityID: list.authorityID)
                )
            }
            pages.set(.lists(content.lists.map { ($0.der, $0.nextUpdate) }), as: .lists)
        }
        return PublicStand.Made(version: content.version, pages: pages, problem: problem)
    }

    // MARK: - The listener

    private var door: PublicDoor {
        var look: (@Sendable () async -> Void)?
        if case .tls = address { look = { [self] in await self.look() } }
        return PublicDoor(
            core: core,
            address: address.description,
            service: service,
            place: { [self] in try await place() },
            look: look,
            changed: { [self] in changed($0) }
        )
    }

    private func changed(_ change: PublicDoor.Change) {
        if case .opened = change {
            core.logger.notice(
                "verifiers outside are served",
                metadata: ["address": "\(address)", "url": "\(url)"]
            )
        }
        stand.changed(change)
    }

    /// Where to listen; nil while there is no pair to do it with.
    private func place() async throws -> PublicListener.Place? {
        switch address {
        case .socket:
            let first = opened.withLock { $0.take() }
            guard let socket else { return nil }
            if let first { return .socket(descriptor: first) }
            socket.remove()
            return .socket(descriptor: try Self.listen(socket))
        case .tls(let address):
            await look()
            guard keeper.withLock({ $0.pair }) != nil else {
                stand.changed(.closed("there is no certificate with its key"))
                return nil
            }
            return .tls(host: address.host, port: address.port) { [self] in
                keeper.withLock { $0.pair }
            }
        }
    }

    private static func listen(_ file: UnixSocketFile) throws -> Int32 {
        // Who can put a file there serves keys of his own whenever this server does not run.
        let directory = file.path.lastIndex(of: "/").map { String(file.path[..<$0]) } ?? ""
        try DurableFile.requireOwn(directory: directory.isEmpty ? "/" : directory)
        do throws(UnixSocketError) {
            return try file.listen()
        } catch {
            throw ListenerError(place: file.path, reason: .socket(error))
        }
    }

    private var service: PublicService {
        let metrics = core.metrics
        return stand.service { event in
            switch event {
            case .answered(let document, let status):
                metrics.increment(.publicResponses, document, "\(status)")
            case .closed(let reason): metrics.increment(.publicClosings, reason.rawValue)
            }
        }
    }

    // MARK: - The certificate

    /// Reads the files again.
    private func look() async {
        let configuration = core.configuration
        let certificates = configuration.publicCertificate ?? ""
        let key = configuration.publicKey ?? ""
        // A disk may let wait, and a certificate costs: neither on a thread that tasks or loops need.
        let (known, now) = (keeper.withLock { $0 }, core.clock.wallTime)
        let looked = await core.keys.outcome {
            var keeper = known
            let read = Result {
                CertificateKeeper.Files(
                    certificates: try DurableFile.read(
                        certificates,
                        bytesMax: CertificatePair.fileBytesMax
                    ),
                    key: try DurableFile.readCredential(key, bytesMax: CertificatePair.fileBytesMax)
                )
            }
            return (look: keeper.looked(read, now: now), keeper: keeper)
        }
        guard case .success(let (look, changed)) = looked else { return }
        // Only this task changes it.
        keeper.withLock { $0 = changed }
        stand.note(faults(look, changed))
        if look == .taken {
            core.logger.notice(
                "a certificate for verifiers outside is in use",
                metadata: ["file": "\(certificates)"]
            )
        }
    }

    /// What is not as it should be.
    private func faults(_ look: CertificateKeeper.Look, _ keeper: CertificateKeeper) -> [String] {
        var faults: [String] = []
        if case .refused(let why) = look {
            faults.append(why + (keeper.pair == nil ? "" : " (the last good pair is served)"))
        }
        let notes = keeper.pair?.notes(host: url.host, now: core.clock.wallTime) ?? []
        return faults + notes.map(\.description)
    }
}
