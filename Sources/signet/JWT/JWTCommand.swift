// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Clocks
internal import ControlAPIProtos
internal import Foundation
internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import SPIFFE
internal import SwiftProtobuf

/// `signet jwt`: the JWT-SVIDs of the process that asks, and those of others that it verifies.
struct JWTCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "jwt",
        abstract: "Fetch JWT-SVIDs of this process, and verify those of others.",
        discussion: "Example: signet jwt fetch --audience api --raw",
        subcommands: [JWTFetchCommand.self, JWTValidateCommand.self, JWTKeysCommand.self]
    )
}

/// `signet jwt fetch`.
struct JWTFetchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Ask the agent for tokens of this process.",
        discussion: """
            A token lets whoever has it be this process at its audiences until it ends, so it is \
            shown only if asked for: --raw, or -o json.

            Example: curl -H "Authorization: Bearer $(signet jwt fetch --audience api --raw)" ...
            """
    )
    @OptionGroup var agent: AgentOptions
    @Option(
        name: .customLong("audience"),
        help: ArgumentHelp(
            "Who the token is for, as the verifier names itself; may be repeated.",
            valueName: "name"
        )
    )
    var audiences: [String]
    @Option(
        name: .customLong("spiffe-id"),
        help: ArgumentHelp("Only this identity.", valueName: "spiffe-id"),
        transform: TypedSPIFFEID.read
    )
    var spiffeID: TypedSPIFFEID?
    @Flag(help: "Print the first token and nothing else.")
    var raw = false
    @OptionGroup var output: OutputOptions

    func validate() throws {
        do throws(TokenAudienceError) { _ = try TokenAudiences(audiences) } catch {
            throw ValidationError("--audience: \(error)")
        }
        guard !raw || output.format == .table else {
            throw ValidationError("--raw and -o exclude each other")
        }
    }

    func run() async throws {
        let response = try await WorkloadCalls(path: try agent.path).call { api, metadata in
            try await api.fetchJWTSVID(
                .with {
                    $0.audience = audiences
                    $0.spiffeID = spiffeID?.text ?? ""
                },
                metadata: metadata
            )
        }
        let tokens = try response.svids.map { try TokenView($0) }
        guard let first = tokens.first else {
            throw CommandFailure("the agent answered without a token", remedy: "Try again.")
        }
        if raw {
            Swift.print(first.token)
            return
        }
        let now = SystemClock().wallTime
        try output.print(tokens) {
            Table(
                headings: ["SPIFFE ID", "HINT", "AUDIENCES", "EXPIRES", "IN"],
                rows: tokens.map {
                    [
                        $0.spiffeID, $0.hint.isEmpty ? "-" : $0.hint,
                        $0.audiences.joined(separator: " "), $0.expires.formatted(.iso8601),
                        Moment.span(seconds: $0.expires.timeIntervalSince(now)),
                    ]
                }
            )
        }
        if output.format == .table { Terminal.error("the token itself: --raw") }
    }
}

/// What programs get of a token, which was read but not verified: the agent has done so.
struct TokenView: Encodable {
    let spiffeID: String
    let hint: String
    let audiences: [String]
    let tokenID: String
    let expiresAt: String
    let token: String
    let expires: Date

    private enum CodingKeys: CodingKey {
        case spiffeID, hint, audiences, tokenID, expiresAt, token
    }

    init(_ message: ControlAPIProtos.JWTSVID) throws(CommandFailure) {
        guard let jws = try? CompactJWS(parsing: Array(message.svid.utf8)),
            let claims = try? JWTClaims(parsing: jws.payload),
            claims.subject.description == message.spiffeID
        else {
            throw CommandFailure(
                "the agent sent something that is no JWT-SVID of \(message.spiffeID)",
                remedy: "Nothing was used of its answer."
            )
        }
        spiffeID = message.spiffeID
        hint = message.hint
        audiences = claims.audiences
        tokenID = claims.tokenID ?? ""
        expires = claims.expiresAt
        expiresAt = claims.expiresAt.formatted(.iso8601)
        token = message.svid
    }
}

/// `signet jwt validate`.
struct JWTValidateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Have the agent verify a token that somebody showed.",
        discussion: """
            The token is read from standard input, so that it stands in no list of processes. \
            Ends with 0 if the token is good for the audience.

            Example: signet jwt validate --audience api < token
            """
    )
    @OptionGroup var agent: AgentOptions
    @Option(
        help: ArgumentHelp("The own name, which the token must hold.", valueName: "name")
    )
    var audience: String
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let input = FileHandle.standardInput.readData(ofLength: CompactJWS.bytesMax + 2)
        let token = String(decoding: input, as: UTF8.self)
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let response = try await WorkloadCalls(path: try agent.path).call { api, metadata in
            try await api.validateJWTSVID(
                .with { ($0.audience, $0.svid) = (audience, token) },
                metadata: metadata
            )
        }
        let view = ValidationView(
            spiffeID: response.spiffeID,
            claims: try response.claims.jsonString()
        )
        try output.print(view) {
            Table(headings: ["SPIFFE ID", "CLAIMS"], rows: [[view.spiffeID, view.claims]])
        }
    }
}

/// What a verified token says.
struct ValidationView: Encodable {
    let spiffeID: String
    /// JSON.
    let claims: String
}

/// `signet jwt keys`.
struct JWTKeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Print the keys that verify tokens, as JWK Sets.",
        discussion: """
            One set for each trust domain that this process may know; with --trust-domain that \
            one alone, as it is.

            Example: signet jwt keys --trust-domain example.org > jwks.json
            """
    )
    @OptionGroup var agent: AgentOptions
    @Option(
        name: .customLong("trust-domain"),
        help: ArgumentHelp("Only this one's, without anything around it.", valueName: "name")
    )
    var trustDomain: String?

    func run() async throws {
        let bundles = try await WorkloadCalls(path: try agent.path).call { api, metadata in
            try await api.fetchJWTBundles(.init(), metadata: metadata) { response in
                for try await message in response.messages { return message.bundles }
                throw CommandFailure(
                    "the agent closed the stream without an answer",
                    remedy: "Try again."
                )
            }
        }
        guard let trustDomain else {
            let sets = bundles.sorted { $0.key < $1.key }
                .map { "\"\($0.key)\":" + String(decoding: $0.value, as: UTF8.self) }
            Swift.print("{\(sets.joined(separator: ","))}")
            return
        }
        guard let set = bundles["spiffe://\(trustDomain)"] else {
            throw CommandFailure(
                "this process may not know the keys of \(trustDomain)",
                remedy: "Known: \(bundles.keys.sorted().joined(separator: ", "))."
            )
        }
        Swift.print(String(decoding: set, as: UTF8.self))
    }
}

/// One call of the Workload API.
struct WorkloadCalls: Sendable {
    typealias API = SpiffeWorkloadAPI.Client<HTTP2ClientTransport.Posix>

    let path: String

    /// Calls the agent.
    ///
    /// - Throws: `CommandFailure` with the agent's reason.
    func call<Answer: Sendable>(
        _ body: @escaping @Sendable (API, Metadata) async throws -> Answer
    ) async throws -> Answer {
        try SocketPath.checkListener(path, peer: .agent)
        do {
            return try await SocketPath.connect(path) { client in
                try await body(SpiffeWorkloadAPI.Client(wrapping: client), WorkloadStream.header)
            }
        } catch let error as RPCError where error.code == .invalidArgument {
            throw CommandFailure("the agent refuses it: \(error.message)")
        } catch let error as RPCError {
            throw WorkloadStream.failure(error, at: path)
        }
    }
}
