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
///
/// Whatever becomes of its certificate and its listener, agents are served: its task ends with the
/// server and never ends it.
final class Publication: Sendable {
    /// How often it is looked whether bundle or lists have changed, which few rows say; several acts
    /// change them, and other servers.
    static let lookInterval: Duration = .seconds(1)
    /// What health says of it; the server is ready without it.
    static let condition = "publicEndpoint"

    /// What the listener was told last.
    private struct State {
        var pages: PublicPages?
        var keeper = CertificateKeeper()
        /// Why the files hold no pair.
        var refusal: String?
        /// Why a document is not what it should be.
        var stale: String?
        /// Why the listener is closed.
        var closed: String?
        /// What was said of all this.
        var told: String?
    }

    private let core: ServerCore
    private let url: PublicURL
    private let address: PublicAddress
    private let socket: UnixSocketFile?
    /// The socket that was opened at the start, until the listener has it.
    private let opened: Mutex<Int32?>
    private let state = Mutex(State(closed: "the listener is not open yet"))
    private let counts = PublicCounts()

    /// Makes sure that the server can listen.
    ///
    /// - Returns: nil when the server serves nobody outside.
    /// - Throws: `ListenerError` or `FileError`: what the configuration says cannot be done.
    init?(_ core: ServerCore) throws {
        guard let url = core.configuration.publicURL, let address = core.configuration.publicListen
        else { return nil }
        (self.core, self.url, self.address) = (core, url, address)
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
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.publish() }
            group.addTask { await self.counts.summarize("verifiers outside", self.core) }
            group.addTask { await self.door.run() }
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

    /// Makes the bodies anew whenever bundle or lists change.
    private func publish() async {
        var version: Content.Version?
        let hasLists = core.configuration.servedDocuments.contains(.crl)
        while !Task.isCancelled {
            do {
                let known = version
                let read = try await core.read {
                    try Self.content(hasLists: hasLists, otherThan: known, in: $0)
                }
                if let read {
                    let (pages, problem) = pages(read)
                    // One that cannot be made is tried again at each look.
                    version = problem == nil ? read.version : nil
                    state.withLock { $0.pages = pages }
                    tell(stale: problem)
                }
            } catch {
                // What is served stays.
                tell(stale: "bundle or lists cannot be read: \(error)")
            }
            await sleep(Self.lookInterval)
        }
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
    private func pages(_ content: Content) -> (PublicPages, problem: String?) {
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
        return (pages, problem)
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
        switch change {
        case .closed(let reason): state.withLock { $0.closed = reason }
        case .looked: tell()
        case .opened:
            state.withLock { $0.closed = nil }
            core.logger.notice(
                "verifiers outside are served",
                metadata: ["address": "\(address)", "url": "\(url)"]
            )
            tell()
        }
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
            guard state.withLock({ $0.keeper.pair }) != nil else {
                state.withLock { $0.closed = "there is no certificate with its key" }
                return nil
            }
            return .tls(host: address.host, port: address.port) { [self] in
                state.withLock { $0.keeper.pair }
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
        let (core, counts) = (core, counts)
        return PublicService(
            pages: { [self] in state.withLock { $0.pages } },
            wallTime: { core.believedWallTime },
            bootTime: { core.clock.bootTime },
            observe: { event in
                counts.add(event)
                switch event {
                case .answered(let document, let status):
                    core.metrics.increment(.publicResponses, document, "\(status)")
                case .closed(let reason):
                    core.metrics.increment(.publicClosings, reason.rawValue)
                }
            }
        )
    }

    // MARK: - The certificate

    /// Reads the files again.
    private func look() async {
        let configuration = core.configuration
        let certificates = configuration.publicCertificate ?? ""
        let key = configuration.publicKey ?? ""
        // A disk may let wait, and a certificate costs: neither on a thread that tasks or loops need.
        let (keeper, now) = (state.withLock { $0.keeper }, core.clock.wallTime)
        let looked = await core.keys.outcome {
            var keeper = keeper
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
        state.withLock { state in
            state.keeper = changed
            state.refusal = if case .refused(let why) = look { why } else { nil }
        }
        if look == .taken {
            core.logger.notice(
                "a certificate for verifiers outside is in use",
                metadata: ["file": "\(certificates)"]
            )
        }
    }

    /// What is not as it should be, in one sentence.
    private func fault(_ state: State) -> String? {
        var parts: [String] = []
        if let closed = state.closed { parts.append(closed) }
        if let stale = state.stale { parts.append(stale) }
        if let refusal = state.refusal {
            parts.append(
                refusal + (state.keeper.pair == nil ? "" : " (the last good pair is served)")
            )
        }
        let notes = state.keeper.pair?.notes(host: url.host, now: core.clock.wallTime)
        parts += (notes ?? []).map(\.description)
        return parts.isEmpty ? nil : parts.joined(separator: "; ")
    }

    /// Says that a document is not what it should be, or is again.
    private func tell(stale problem: String?) {
        let isNews = state.withLock { state in
            defer { state.stale = problem }
            return state.stale != problem
        }
        if isNews { tell() }
    }

    /// Says in health and, when it changes, in the log what is wrong.
    private func tell() {
        let (problem, isNews) = state.withLock { state -> (String?, Bool) in
            let problem = fault(state)
            defer { state.told = problem }
            return (problem, problem != state.told)
        }
        guard let problem else {
            core.health.met(Self.condition)
            if isNews { core.logger.notice("the public endpoint is as it should be") }
            return
        }
        core.health.unmet(Self.condition, reason: problem)
        if isNews {
            core.logger.warning("the public endpoint", metadata: ["problem": "\(problem)"])
        }
    }

    private func sleep(_ duration: Duration) async {
        try? await core.clock.sleep(untilBoot: core.clock.bootTime + duration)
    }
}
