// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPI
import Crypto
import Foundation
import Logging
import NodeAgent
import NodeSync
import SPIFFE
import Telemetry
import TestPKI
import TestPrograms

/// An agent that serves its socket for exchanges, and whose server is the test: what it asks for
/// comes here, and tokens are signed by a key that its bundle has.
struct ExchangingAgent: Sendable {
    static let a = "spiffe://example.org/a"
    static let b = "spiffe://example.org/b"
    static let c = "spiffe://example.org/c"

    struct Ended: Error {}

    let agent: ServingAgent
    let tokenSocket: String
    let log: LoggedLines
    /// When every token was issued, in whole seconds.
    let start = Int(Date().timeIntervalSince1970)
    private let key = P256.Signing.PrivateKey()
    private let calls: AsyncStream<ServerCall>
    private let outlet: AsyncStream<ServerCall>.Continuation

    /// Runs `body` while the agent serves; this process is b.
    static func run(
        places: WorkloadPlaces = WorkloadPlaces(
            perUser: TokenSocket.connectionsPerUserMax,
            all: TokenSocket.connectionsMax
        ),
        _ body: @escaping @Sendable (ExchangingAgent) async throws -> Void
    ) async throws {
        let log = LoggedLines(from: .debug)
        try await ServingAgent.run(logger: log.logger) { agent in
            let (calls, outlet) = AsyncStream.makeStream(of: ServerCall.self)
            let (_, syncOutlet) = AsyncStream.makeStream(of: SyncOutgoing.self)
            agent.core.connecting(
                ConnectionOutlets(sync: syncOutlet, calls: outlet, end: Signal())
            )
            let one = ExchangingAgent(
                agent: agent,
                tokenSocket: agent.socket.replacing("workload.sock", with: "token.sock"),
                log: log,
                calls: calls,
                outlet: outlet
            )
            try one.welcome([agent.own("b")])
            let socket = TokenSocket(
                core: agent.core,
                attestor: UnixWorkloadAttestor(clock: agent.core.clock),
                path: one.tokenSocket,
                mode: 0o666,
                places: places
            )
            let (ready, announce) = AsyncStream.makeStream(of: Void.self)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await socket.run { announce.finish() } }
                group.addTask {
                    for await _ in ready {}
                    try await body(one)
                }
                // The socket ends only by failing.
                defer { group.cancelAll() }
                try await group.next()
            }
        }
    }

    private init(
        agent: ServingAgent,
        tokenSocket: String,
        log: LoggedLines,
        calls: AsyncStream<ServerCall>,
        outlet: AsyncStream<ServerCall>.Continuation
    ) {
        self.agent = agent
        self.tokenSocket = tokenSocket
        self.log = log
        self.calls = calls
        self.outlet = outlet
    }

    // MARK: - As the server

    /// Opens the stream and sends the first state.
    private func welcome(_ entries: [RegistrationEntry]) throws {
        agent.tell { $0.started(now: $1, using: &$2) }
        agent.tell { $0.connected(now: $1, using: &$2) }
        agent.tell {
            $0.welcomed(
                trustDomain: "example.org",
                serverTime: $1.wall,
                nodeSelectors: [],
                now: $1,
                using: &$2
            )
        }
        var resources = [try ResourcePayload.bundle(try bundle).resource]
        resources += try entries.map { try ResourcePayload.entry($0).resource }
        _ = agent.receive([
            .snapshotBegin(agent.world.revision(1)),
            .snapshotPage(index: 0, resources: resources),
            .snapshotEnd(resourceCount: resources.count),
        ])
    }

    private var bundle: TrustBundle {
        get throws {
            let authority = agent.world.authority
            let webKey = try webKey(key)
            let jwtAuthority = JWTAuthority(
                keyID: webKey.thumbprint,
                key: webKey,
                algorithm: .es256,
                authorityKeyID: try LeafCertificate(der: authority.der).subjectKeyID
            )
            return TrustBundle(
                trustDomain: authority.trustDomain,
                x509Authorities: [authority.der],
                x509Intermediates: [],
                jwtAuthorities: [jwtAuthority],
                sequenceNumber: 2,
                refreshHintSeconds: 300
            )
        }
    }

    private func webKey(_ key: P256.Signing.PrivateKey) throws -> JSONWebKey {
        try JSONWebKey(subjectPublicKeyInfo: Array(key.publicKey.derRepresentation))
    }

    /// Sends the one change after the first state.
    func change(_ resource: Resource) {
        change(.upsert(resource.key, payload: resource.payload))
    }

    /// Sends the one change after the first state.
    func change(_ change: ResourceChange) {
        _ = agent.receive([agent.world.delta(1, 2, [change])])
    }

    /// The next exchange that the agent asks for.
    func next() async throws -> ExchangeCall {
        for await call in calls {
            if case .exchange(let exchange) = call { return exchange }
        }
        throw Ended()
    }

    /// The next tokens that the agent asks for.
    func nextTokens() async throws -> TokenCall {
        for await call in calls {
            if case .tokens(let tokens) = call { return tokens }
        }
        throw Ended()
    }

    /// Takes no more calls.
    func hangUp() { outlet.finish() }

    // MARK: - Tokens

    /// A JWT-SVID for one audience; by a stranger's key, which no bundle has, if one is given, and
    /// `isNamed` says whether the token names that or the one of the bundle.
    func shown(
        of subject: String = a,
        for audience: String = b,
        by stranger: P256.Signing.PrivateKey? = nil,
        isNamed: Bool = true,
        issuedAfter seconds: Int = 0
    ) throws -> String {
        try token(
            ["aud": .array([.string(audience)]), "sub": .string(subject)],
            type: "JWT",
            endsAfter: 300,
            issuedAfter: seconds,
            by: stranger ?? key,
            named: isNamed ? stranger ?? key : key
        )
    }

    /// What the agent keeps of a JWT-SVID for `api` that its server has just signed.
    func kept(of subject: String) throws -> KeptToken {
        let issuedAt = Date(timeIntervalSince1970: Double(start))
        return KeptToken(
            token: try shown(of: subject, for: "api"),
            issuedAt: issuedAt,
            notAfter: issuedAt + 300,
            keyID: try webKey(key).thumbprint,
            receivedAt: agent.core.clock.bootTime
        )
    }

    /// A token "A, through B" for `ledger`, as a server signs it, or one whose clock is ahead, by which
    /// it begins later.
    func signed(
        subject: String = a,
        actor: String = b,
        beginsAfter beginning: Int? = nil,
        endsAfter seconds: Int = 300,
        by stranger: P256.Signing.PrivateKey? = nil,
        isNamed: Bool = false
    ) throws -> String {
        let chain = try DelegationChain(subject: try SPIFFEID(subject))
            .appending(try SPIFFEID(actor))
        var claims = chain.claims
        claims["aud"] = .array([.string("ledger")])
        claims["iss"] = .string("https://id.example.org/delegated")
        if let beginning { claims["nbf"] = .number(.init(Int64(start + beginning))) }
        return try token(
            claims,
            type: DelegationClaims.type,
            endsAfter: seconds,
            by: stranger ?? key,
            named: isNamed ? stranger ?? key : key
        )
    }

    private func token(
        _ claims: [String: JSONValue],
        type: String,
        endsAfter seconds: Int,
        issuedAfter issued: Int = 0,
        by signer: P256.Signing.PrivateKey,
        named: P256.Signing.PrivateKey
    ) throws -> String {
        var claims = claims
        claims["exp"] = .number(.init(Int64(start + seconds)))
        claims["iat"] = .number(.init(Int64(start + issued)))
        claims["jti"] = .string("one")
        let header: [String: JSONValue] = [
            "alg": .string("ES256"), "kid": .string(try webKey(named).thumbprint),
            "typ": .string(type),
        ]
        let input = [header, claims].map { Base64Form.url.text(JSONValue.object($0).encoded) }
            .joined(separator: ".")
        let signature = try signer.signature(for: Data(input.utf8)).rawRepresentation
        return "\(input).\(Base64Form.url.text(signature))"
    }

    // MARK: - As the workload

    /// What is asked for with a token: one for `ledger`.
    static func form(_ token: String) -> [(name: String, value: String)] {
        [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"), ("audience", "ledger"),
        ]
    }

    /// What the socket answers to an exchange for `ledger`.
    func exchange(_ token: String) async throws -> String {
        try await tokenAnswer(Self.form(token), to: "/token", at: tokenSocket)
    }

    /// The same of A's token, if the server answers so, after what happens meanwhile.
    func exchange(
        answered result: Result<String, APIError>,
        meanwhile: () throws -> Void = {}
    ) async throws -> String {
        let token = try shown()
        async let answer = exchange(token)
        let call = try await next()
        try meanwhile()
        call.finish(result)
        return try await answer
    }

    func introspect(_ token: String) async throws -> String {
        try await tokenAnswer(
            [("token", token), ("audience", "ledger")],
            to: "/introspect",
            at: tokenSocket
        )
    }

    /// Whether the metrics have this line.
    func shows(_ line: String) -> Bool {
        agent.core.metrics.exposition().split(separator: "\n").contains { $0 == line }
    }
}
