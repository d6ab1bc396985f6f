// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Crypto
package import FoundationEssentials
package import GRPCCore
internal import SwiftASN1
internal import SwiftProtobuf
internal import Synchronization
package import TestPKI
internal import X509

/// The reference of an upstream (docs/decisions/0020-authorities-under-another.md): a root, an
/// authority below it, and the certificates that this one signs for servers, by copying what they
/// ask for.
///
/// For tests alone, as `KeyBridge`.
package final class UpstreamBridge: Sendable {
    /// How it fails.
    package enum Fault: Sendable, Hashable {
        case none
        /// Answers have more bytes than anybody reads.
        case answersTooMuch
        /// The stream of what is above ends after its first message.
        case endsStream
        /// The stream of what is above says nothing after its first message.
        case fallsSilent
        /// Calls wait until the caller gives up.
        case holds
        /// The chain lacks what is between the key and its root.
        case leavesOutAuthority
        /// Does not say what is revoked, and certifies.
        case refusesWatch
        case refuses(RPCError.Code)
    }

    struct State {
        var fault = Fault.none
        /// What signs; its root is above it.
        var authority: TestAuthority
        var roots: [[UInt8]]
        var revoked: Set<[UInt8]> = []
        var watchers: [AsyncStream<Void>.Continuation] = []
        /// Calls that wait.
        var held: [AsyncStream<Void>.Continuation] = []
        var certified = 0
        var lastKeyID: [UInt8]?
        var headers: [Bool] = []
    }

    /// Above what signs at first.
    package let root: TestAuthority
    let now: Date
    let state: Mutex<State>

    /// - Parameters:
    ///   - trustDomain: A bare name.
    ///   - now: The wall clock, by which certificates are dated.
    /// - Throws: If the name is no trust domain.
    package init(_ trustDomain: String, now: Date) throws {
        root = try TestAuthority.root(trustDomain, now: now)
        self.now = now
        state = Mutex(State(authority: try root.intermediate(), roots: [root.der]))
    }

    /// What signs.
    package var authority: TestAuthority { state.withLock { $0.authority } }

    /// Signs with another authority from the next call on; its root is told apart.
    package func sign(with authority: TestAuthority) {
        state.withLock { $0.authority = authority }
    }

    /// Fails so from the next call on.
    package func fail(_ fault: Fault) { state.withLock { $0.fault = fault } }

    /// DER of the roots that are told.
    package var roots: [[UInt8]] { state.withLock { $0.roots } }

    /// How many keys were certified.
    package var certified: Int { state.withLock { $0.certified } }

    /// Whether each call had the header that agents want of workloads (Workload Endpoint section 5).
    package var headers: [Bool] { state.withLock { $0.headers } }

    /// The ID of the key that was certified last.
    package var lastKeyID: [UInt8]? { state.withLock { $0.lastKeyID } }

    /// How many are told of changes.
    package var watcherCount: Int { state.withLock { $0.watchers.count } }

    /// Tells other roots, and what is revoked besides.
    package func tell(roots: [[UInt8]]? = nil, revoking keyID: [UInt8]? = nil) {
        let watchers = state.withLock { state in
            if let roots { state.roots = roots }
            if let keyID { state.revoked.insert(keyID) }
            return state.watchers
        }
        for watcher in watchers { watcher.yield() }
    }

    /// Ends the streams that there are, as a process does that ends.
    package func hangUp() {
        let watchers = state.withLock { state in
            defer { state.watchers = [] }
            return state.watchers
        }
        for watcher in watchers { watcher.finish() }
    }

    /// Tells what is revoked now, and nothing else that was, and the roots if there are others.
    package func tell(_ roots: [[UInt8]]? = nil, revoked keyIDs: Set<[UInt8]>) {
        let watchers = state.withLock { state in
            if let roots { state.roots = roots }
            state.revoked = keyIDs
            return state.watchers
        }
        for watcher in watchers { watcher.yield() }
    }

    /// Answers at a Unix socket while `body` runs; a file that is there is replaced.
    package func serving<Value: Sendable>(
        at path: String,
        _ body: () async throws -> Value
    ) async throws -> Value {
        try await TestBridge.serving(
            [UpstreamBridgeService(bridge: self)],
            at: path,
            interceptors: [HeaderReader(bridge: self)],
            ending: {
                let open = state.withLock { state in
                    defer { (state.watchers, state.held) = ([], []) }
                    return state.watchers + state.held
                }
                for one in open { one.finish() }
            },
            body
        )
    }

    /// Signs what a request asks for.
    ///
    /// - Returns: DER of the certificate and of the authority.
    func certify(_ csr: [UInt8], lifetimeSeconds: Int64) throws -> [[UInt8]] {
        let (authority, fault) = state.withLock { ($0.authority, $0.fault) }
        let request = try CertificateSigningRequest(derEncoded: csr)
        guard request.publicKey.isValidSignature(request.signature, for: request) else {
            throw RPCError(code: .invalidArgument, message: "the request is not signed by its key")
        }
        var extensions = Certificate.Extensions()
        for one in try request.attributes.extensionRequest?.extensions ?? .init() {
            try extensions.append(one)
        }
        let issuer = try authority.certificate.extensions.subjectKeyIdentifier?.keyIdentifier
        try extensions.append(
            Certificate.Extension(AuthorityKeyIdentifier(keyIdentifier: issuer), critical: false)
        )
        let certificate = try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: request.publicKey,
            notValidBefore: now.addingTimeInterval(-60),
            notValidAfter: now.addingTimeInterval(Double(lifetimeSeconds)),
            issuer: authority.certificate.subject,
            subject: request.subject,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: extensions,
            issuerPrivateKey: Certificate.PrivateKey(authority.key)
        )
        var der = DER.Serializer()
        try der.serialize(certificate)
        let keyID = SHA256.hash(data: request.publicKey.subjectPublicKeyInfoBytes).prefix(20)
        state.withLock { state in
            state.certified += 1
            state.lastKeyID = Array(keyID)
        }
        return [der.serializedBytes] + (fault == .leavesOutAuthority ? [] : [authority.der])
    }
}

/// The two calls.
struct UpstreamBridgeService: Signet_Upstream_V1alpha1_Upstream.SimpleServiceProtocol {
    typealias CertifyResponse = Signet_Upstream_V1alpha1_CertifyResponse
    typealias Trust = Signet_Upstream_V1alpha1_Trust

    let bridge: UpstreamBridge

    func certify(
        request: Signet_Upstream_V1alpha1_CertifyRequest,
        context: ServerContext
    ) async throws -> CertifyResponse {
        if try await begin() == .answersTooMuch { return .with { $0.chain = [Self.tooMuch] } }
        let chain = try bridge.certify(
            Array(request.csr),
            lifetimeSeconds: request.lifetimeSeconds
        )
        return .with { $0.chain = chain.map { Data($0) } }
    }

    func watch(
        request: Signet_Upstream_V1alpha1_WatchRequest,
        response: RPCWriter<Trust>,
        context: ServerContext
    ) async throws {
        let fault = try await begin()
        guard fault != .refusesWatch else {
            throw RPCError(code: .unavailable, message: "it says nothing")
        }
        let (changes, outlet) = AsyncStream.makeStream(
            of: Void.self,
            bufferingPolicy: .bufferingNewest(1)
        )
        bridge.state.withLock { $0.watchers.append(outlet) }
        outlet.yield()
        var isFirst = true
        for await _ in changes {
            guard isFirst || fault != .fallsSilent else { continue }
            isFirst = false
            let (roots, revoked) = bridge.state.withLock { ($0.roots, $0.revoked) }
            try await response.write(
                .with {
                    $0.roots = fault == .answersTooMuch ? [Self.tooMuch] : roots.map { Data($0) }
                    $0.revokedKeyIds = revoked.map { Data($0) }
                }
            )
            if fault == .endsStream { return }
        }
    }

    /// More than the 256 KiB that are read.
    private static let tooMuch = Data(repeating: 7, count: 300 << 10)

    private func begin() async throws -> UpstreamBridge.Fault {
        let fault = bridge.state.withLock { $0.fault }
        switch fault {
        case .holds:
            let (gate, opened) = AsyncStream.makeStream(of: Void.self)
            bridge.state.withLock { $0.held.append(opened) }
            for await _ in gate {}
            throw CancellationError()
        case .refuses(let code):
            throw RPCError(code: code, message: "told\u{1B}[2J\u{9B} to\n\u{2028}\u{202E}refuse")
        case .answersTooMuch, .endsStream, .fallsSilent, .leavesOutAuthority, .none, .refusesWatch:
            return fault
        }
    }
}

/// Notes what calls come with.
private struct HeaderReader: ServerInterceptor {
    let bridge: UpstreamBridge

    func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingServerRequest<Input>,
        context: ServerContext,
        next:
            @concurrent @Sendable (
                _ request: StreamingServerRequest<Input>,
                _ context: ServerContext
            ) async throws -> StreamingServerResponse<Output>
    ) async throws -> StreamingServerResponse<Output> {
        let values = request.metadata[stringValues: "workload.spiffe.io"]
        let isThere = values.contains("true")
        bridge.state.withLock { $0.headers.append(isThere) }
        return try await next(request, context)
    }
}
