// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import TestPrograms

/// One of two trust domains that federate: its server with a bundle endpoint, its agent, and a
/// frontend and a backend behind proxies of their own.
///
/// The frontend may read at the partner's backend, and nobody else of the partner's. All of Signet's
/// parts are the real programs; they end with the value.
final class FederatedSide: Sendable {
    let trustDomain: String
    let machine: Machine
    /// Where partners fetch the bundle.
    let bundlePort: UInt16
    /// mTLS of the backend's proxy, for requests and for streams.
    let (inbound, streamInbound): (UInt16, UInt16)
    /// Where the frontend expects the own backend; nobody listens there.
    let ownPort: UInt16
    private let (application, streamService): (UInt16, UInt16)
    private let web: Program
    private let stream: Program
    private let proxies = Mutex<[Program]>([])

    /// Starts the server, and what the proxies lead to.
    ///
    /// - Parameter trustDomain: Its name.
    /// - Throws: `ProgramFailure` when it does not serve in time.
    init(_ trustDomain: String) async throws {
        self.trustDomain = trustDomain
        let port = try FreePort.take()
        bundlePort = port
        machine = try Machine {
            $0.trustDomain = trustDomain
            $0.serverLines = [
                "federationListen: 127.0.0.1:\(port)", "federationNetworks: [\"127.0.0.0/8\"]",
            ]
        }
        (inbound, streamInbound) = (try FreePort.take(), try FreePort.take())
        (application, streamService) = (try FreePort.take(), try FreePort.take())
        ownPort = try FreePort.take()
        web = try Self.start(
            ["\(Installation.repository.path)/deploy/demo/backend.py", "\(application)"],
            machine
        )
        stream = try Self.start(
            ["\(Installation.peers)/stream.py", "serve", "\(streamService)"],
            machine
        )
        for program in [web, stream] { try await program.waitFor("listening") }
        // Whose endpoint is not open yet is fetched from again minutes later.
        try await machine.startServer().waitFor("partners are served the bundle")
    }

    private static func start(_ words: [String], _ machine: Machine) throws -> Program {
        try Program(
            Installation.python(),
            words,
            environment: ["PYTHONUNBUFFERED": "1"],
            directory: machine.path
        )
    }

    /// The frontend's listener for the partner's backend.
    var socket: String { "\(machine.path)/frontend.sock" }
    /// The same of an identity that federates with nobody.
    var lonerSocket: String { "\(machine.path)/loner.sock" }
    /// The frontend's listener for the own backend.
    var ownSocket: String { "\(machine.path)/own.sock" }
    /// The frontend's listener for the partner's TCP service.
    var streamSocket: String { "\(machine.path)/stream.sock" }
    /// What the backend has been asked, one line each: method, path, length, who asks.
    var asked: String { web.output }

    /// An ID of this trust domain.
    func id(_ name: String) -> String { "spiffe://\(trustDomain)/\(name)" }

    // MARK: - Documents

    /// What a partner needs to federate with this side: the bundle is that of the moment.
    func federation() async throws -> String {
        let shown = try await machine.signet(["bundle", "show", "-o", "spiffe"])
        guard shown.isSuccess else { throw ProgramFailure("bundle show: \(shown.report)") }
        let bundle = shown.output.trimmingCharacters(in: .whitespacesAndNewlines)
        return """
            ---
            apiVersion: core.signet/v1alpha1
            kind: FederatedTrustDomain
            metadata: {name: partner}
            spec:
              trustDomain: \(trustDomain)
              bundleEndpointURL: https://127.0.0.1:\(bundlePort)/bundle
              bundleEndpointProfile:
                type: https_spiffe
                endpointSPIFFEID: "\(id("signet/bundle"))"
              trustDomainBundle: '\(bundle)'

            """
    }

    /// Starts to federate, and the proxies.
    func begin(with partner: FederatedSide) async throws {
        try await machine.startAgent()
        try await machine.apply(try await partner.federation() + documents(partner))
        try await believes(partner)
        for name in ["default/backend", "default/frontend"] {
            let proxy = try startProxy(name)
            proxies.withLock { $0.append(proxy) }
        }
    }

    /// Waits until a bundle of the partner was fetched and is believed.
    func believes(_ partner: FederatedSide) async throws {
        try await eventually("\(trustDomain) to believe \(partner.trustDomain)") { [self] in
            // The details of one have a field of that name.
            let shown = try await machine.signet(["federation", "show"])
            return shown.output.contains(partner.trustDomain)
                && shown.output.contains("believed")
        }
    }

    private func documents(_ partner: FederatedSide) -> String {
        let federates = "\n  federatesWith: [\(partner.trustDomain)]"
        return entry("frontend", federates) + entry("backend", federates) + entry("loner")
            + entry("reports") + services(partner) + policy(partner)
            + proxy("frontend", ["frontend", "loner"], outbound)
            + proxy("backend", ["backend"], inboundListeners)
    }

    private func entry(_ name: String, _ more: String = "") -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: RegistrationEntry
        metadata: {name: \(name)}
        spec:
          spiffeID: \(id(name))
          nodeSelectors: ["role:test"]
          workloadSelectors: ["unix:uid:\(FreePort.uid)"]\(more)

        """
    }

    /// The partner's, as the frontend reaches them, and the own one.
    private func services(_ partner: FederatedSide) -> String {
        [
            ("partner-backend", "http", partner, partner.inbound),
            ("partner-stream", "tcp", partner, partner.streamInbound),
            ("own-backend", "http", self, ownPort),
        ].map { name, kind, side, port in
            """
            ---
            apiVersion: core.signet/v1alpha1
            kind: Service
            metadata: {name: \(name)}
            spec:
              ports: [{name: \(kind), number: 80, protocol: \(kind)}]
              identities: ["\(side.id("backend"))"]
              endpoints: [{address: "127.0.0.1:\(port)"}]

            """
        }.joined()
    }

    /// The partner's frontend may read and connect; of the own workloads `reports` may read.
    private func policy(_ partner: FederatedSide) -> String {
        let readers = [partner.id("frontend"), id("reports")].map { "\"\($0)\"" }
            .joined(separator: ", ")
        return """
            ---
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: readers}
            spec:
              target: {spiffeIDs: ["\(id("backend"))"]}
              action: ALLOW
              rules:
                - from: [{source: {principals: [\(readers)]}}]
                  to: [{operation: {methods: [GET], ports: [\(application)]}}]
            ---
            apiVersion: core.signet/v1alpha1
            kind: AccessPolicy
            metadata: {name: streams}
            spec:
              target: {spiffeIDs: ["\(id("backend"))"]}
              action: ALLOW
              rules:
                - from: [{source: {principals: ["\(partner.id("frontend"))"]}}]
                  to: [{operation: {ports: [\(streamService)]}}]

            """
    }

    private func proxy(_ name: String, _ identities: [String], _ lines: String) -> String {
        """
        ---
        apiVersion: core.signet/v1alpha1
        kind: Proxy
        metadata: {name: \(name)}
        spec:
          mode: sidecar
          nodeSelectors: ["role:test"]
          selectors: ["unix:uid:\(FreePort.uid)"]
          identities: [\(identities.map { "\"\(id($0))\"" }.joined(separator: ", "))]
        \(lines)

        """
    }

    private var outbound: String {
        let listeners = [
            ("requests", "frontend", "partner-backend, port: http", socket),
            ("loner", "loner", "partner-backend, port: http", lonerSocket),
            ("stream", "frontend", "partner-stream, port: tcp", streamSocket),
            ("own", "frontend", "own-backend, port: http", ownSocket),
        ].map { name, identity, service, place in
            """
                - {name: \(name), identity: "\(id(identity))", service: \(service),
                   unix: \(place), allow: {uids: [\(FreePort.uid)]}}
            """
        }
        return "  outbound:\n" + listeners.joined(separator: "\n")
    }

    private var inboundListeners: String {
        let listeners = [
            ("http", inbound, application), ("tcp", streamInbound, streamService),
        ].map { kind, port, service in
            """
                - {name: \(kind), address: "127.0.0.1:\(port)", identity: "\(id("backend"))",
                   protocol: \(kind), forward: {address: "127.0.0.1:\(service)"}}
            """
        }
        return "  inbound:\n" + listeners.joined(separator: "\n")
    }

    // MARK: - Programs

    private func startProxy(_ name: String) throws -> Program {
        // An agent that is not root cannot look at a process that protects its memory.
        let debugging = FreePort.uid == 0 ? [] : ["--allow-debugging"]
        return try Program(
            Installation.binary("signet-proxy"),
            [
                "--agent-socket", "\(machine.path)/proxy.sock", "--proxy", name, "--workers", "1",
                "--telemetry-port", "0",
            ] + debugging,
            directory: machine.path
        )
    }

    /// Asks the partner's backend once, on a connection of its own.
    ///
    /// - Parameters:
    ///   - place: A listener; the frontend's if none is given.
    ///   - path: What is asked for.
    /// - Returns: The status, 0 if nothing came back, and the body.
    /// - Throws: `ProgramFailure` when curl is missing or does not end.
    func ask(at place: String? = nil, path: String = "/hello") async throws -> (Int, String) {
        let result = try await Installation.run(
            Installation.tool("curl"),
            [
                "-sS", "--max-time", "5", "-w", "\n%{http_code}", "--unix-socket",
                place ?? socket, "http://backend\(path)",
            ],
            directory: machine.path
        )
        let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
        return (
            lines.last.flatMap { Int($0) } ?? 0, lines.dropLast().joined(separator: "\n")
        )
    }

    /// Waits until the frontend is answered by the partner's backend.
    func answered() async throws {
        try await eventually("\(trustDomain)'s frontend to be answered") { [self] in
            try await ask().0 == 200
        }
    }

    /// Whether a new stream reaches the partner's TCP service.
    func streams() async throws -> Bool {
        let once = try await machine.runPeer("stream.py", ["once", streamSocket])
        return once.output.contains("hello")
    }

    /// Waits until it is not: its own proxy says that there is no server, or that it was cut off.
    func refused() async throws {
        try await eventually("\(trustDomain)'s frontend to be refused") { [self] in
            Self.refusals.contains(try await ask().0)
        }
    }

    /// What a proxy answers whose server is not believed, or does not believe it.
    static let refusals = [502, 503]

    /// Writes the files of an identity, as a workload that keeps its own key has them.
    ///
    /// - Parameters:
    ///   - name: The identity.
    ///   - other: Whose bundle is with them; this side's if none is given.
    /// - Returns: Their folder.
    /// - Throws: `ProgramFailure` when they are not given.
    func takeIdentity(_ name: String, toVerify other: FederatedSide? = nil) async throws -> String {
        let folder = "\(machine.path)/files-\(UInt32.random(in: 0...UInt32.max))"
        let fetched = try await machine.signet(
            ["svid", "fetch", "--spiffe-id", id(name), "--write-dir", folder]
        )
        guard fetched.isSuccess else { throw ProgramFailure("fetch: \(fetched.report)") }
        if let other { try await other.authorities().write("bundle.pem", in: folder) }
        return folder
    }

    /// The authorities as PEM.
    func authorities() async throws -> String {
        let shown = try await machine.signet(["bundle", "show"])
        guard shown.isSuccess else { throw ProgramFailure("bundle show: \(shown.report)") }
        return shown.output
    }

    /// Asks this side's backend from outside of all proxies, with the files of a folder.
    func asked(by folder: String, path: String) async throws -> ProgramResult {
        try await machine.runPeer(
            "raw_http.py",
            [
                "mtls", "127.0.0.1:\(inbound)", folder,
                #"GET \#(path) HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n\r\n"#,
            ]
        )
    }

    /// Stops everything and waits for the ends.
    func stop() async throws {
        for proxy in proxies.withLock({ $0 }) { try await proxy.stop() }
        for program in [web, stream] { try await program.stop() }
        try await machine.stop()
    }
}

extension String {
    /// Writes it into a file that only its user reads.
    func write(_ name: String, in folder: String) throws {
        let file = "\(folder)/\(name)"
        try Data(utf8).write(to: URL(fileURLWithPath: file))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
    }
}

/// Two trust domains that federate with each other.
struct FederatedPair: Sendable {
    let left: FederatedSide
    let right: FederatedSide

    /// Starts both, and waits until the frontend of each is answered by the backend of the other.
    init() async throws {
        (left, right) = (
            try await FederatedSide("example.org"), try await FederatedSide("partner.example")
        )
        try await left.begin(with: right)
        try await right.begin(with: left)
        for side in [left, right] { try await side.answered() }
    }

    func stop() async throws {
        for side in [left, right] { try await side.stop() }
    }
}
