// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
internal import GRPCPeer
internal import NodeSync
internal import SPIFFE
internal import SwiftProtobuf
internal import Telemetry

/// The JWT profile of the Workload API (section 6; docs/decisions/0017-jwt-keys-and-services.md).
extension WorkloadAPIService {
    func fetchJWTSVID(
        request: JWTSVIDRequest,
        context: ServerContext
    ) async throws -> JWTSVIDResponse {
        let method = "FetchJWTSVID"
        return try await answer(method, context) { peer, attestation in
            let audiences: TokenAudiences
            do throws(TokenAudienceError) { audiences = try TokenAudiences(request.audience) } catch
            {
                throw APIError(.invalidArgument, "audience", error.description)
            }
            let tokens = try await core.tokens(
                for: attestation.selectors,
                wanted: try Self.id(request.spiffeID),
                audiences: audiences,
                uid: peer.uid
            )
            // It may have waited for the server.
            guard peer.stillRuns(attestation.executable) else {
                throw APIError(
                    .permissionDenied,
                    "executableReplaced",
                    WorkloadAttestationError.executableReplaced.description
                )
            }
            return .with {
                $0.svids = tokens.map { grant, token in
                    .with {
                        $0.spiffeID = grant.spiffeID.description
                        $0.svid = token.token
                        $0.hint = grant.hint
                    }
                }
            }
        }
    }

    func fetchJWTBundles(
        request: JWTBundlesRequest,
        response: RPCWriter<JWTBundlesResponse>,
        context: ServerContext
    ) async throws {
        let shown = LastMessage<JWTBundlesResponse>()
        try await serve("FetchJWTBundles", .bundles, context) { view, current in
            let message = view.jwtBundlesResponse
            guard shown.news(in: message) != nil else { return view }
            let bytes = message.bundles.values.reduce(0) { $0 + $1.count }
            return try await send(bytes: bytes, largeJWTBundles, context) {
                guard let view = try current() else { return nil }
                let message = view.jwtBundlesResponse
                guard let news = shown.news(in: message) else { return view }
                shown.replace(by: news)
                try await response.write(message)
                return view
            }
        }
    }

    func validateJWTSVID(
        request: ValidateJWTSVIDRequest,
        context: ServerContext
    ) async throws -> ValidateJWTSVIDResponse {
        try await answer("ValidateJWTSVID", context) { _, attestation in
            let verified = try core.validate(
                token: request.svid,
                audience: request.audience,
                for: attestation.selectors
            )
            let isOwn = verified.id.trustDomain == core.trustDomain
            return .with {
                $0.spiffeID = verified.id.description
                $0.claims = verified.claims.message(isOwn: isOwn)
            }
        }
    }

    private static func id(_ text: String) throws(APIError) -> SPIFFEID? {
        guard !text.isEmpty else { return nil }
        do throws(SPIFFEIDError) { return try SPIFFEID(text) } catch {
            throw APIError(.invalidArgument, "spiffeID", error.description)
        }
    }

    /// Attests the caller and answers it once.
    private func answer<Answer>(
        _ method: String,
        _ context: ServerContext,
        _ make: (LocalPeer, WorkloadAttestation) async throws -> Answer
    ) async throws -> Answer {
        try await withCaller(method, context) { peer, attestation in
            do {
                let answer = try await make(peer, attestation)
                count(method, "ok", peer)
                return answer
            } catch let error as APIError {
                count(method, error.workloadLabel, peer)
                throw RPCError(code: error.workloadCode, message: error.message)
            }
        }
    }
}

extension APIError {
    /// The codes of the Workload API (section 4.6 of the Workload Endpoint; row A-12).
    fileprivate var workloadCode: RPCError.Code {
        switch kind {
        case .invalidArgument: .invalidArgument
        case .permissionDenied, .notFound, .unauthenticated: .permissionDenied
        case .exhausted: .resourceExhausted
        case .conflict, .failedPrecondition, .fault, .unavailable, .unimplemented: .unavailable
        }
    }
}

extension APIError {
    /// The same as the label of a metric.
    fileprivate var workloadLabel: String {
        switch workloadCode {
        case .invalidArgument: "invalid"
        case .permissionDenied: "denied"
        case .resourceExhausted: "refused"
        default: "unavailable"
        }
    }
}

extension JWTClaims {
    /// Claims that the standards define; of foreign tokens no others are passed on, because their
    /// names may mean something else here (row A-10).
    private static let standard: Set = ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"]

    func message(isOwn: Bool) -> Google_Protobuf_Struct {
        var fields: [String: Google_Protobuf_Value] = [:]
        for (name, value) in all where isOwn || Self.standard.contains(name) {
            fields[name] = value.message
        }
        fields["aud"] = JSONValue.array(audiences.map { .string($0) }).message
        return .with { $0.fields = fields }
    }
}

extension JSONValue {
    fileprivate var message: Google_Protobuf_Value {
        switch self {
        case .array(let values):
            Google_Protobuf_Value(listValue: .with { $0.values = values.map(\.message) })
        case .boolean(let value): Google_Protobuf_Value(boolValue: value)
        case .null: .with { $0.nullValue = .nullValue }
        case .number(let number): Google_Protobuf_Value(numberValue: number.double ?? 0)
        case .object(let members):
            Google_Protobuf_Value(structValue: .with { $0.fields = members.mapValues(\.message) })
        case .string(let text): Google_Protobuf_Value(stringValue: text)
        }
    }
}
