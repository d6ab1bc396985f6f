// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Clocks
internal import ControlAPI
internal import ControlAPIProtos
internal import Datastore
internal import GRPCCore
internal import SPIFFE
internal import SwiftProtobuf

/// Join tokens that nobody has used.
extension AdministrationService {
    func listTokens(
        request: Signet_Admin_V1alpha1_ListTokensRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_ListTokensResponse {
        guard let after = Hexadecimal.bytes(request.pageToken) else {
            throw APIError(
                .invalidArgument,
                "pageToken",
                "the page token is none of an answer before"
            )
        }
        let (logic, now) = (core.logic, core.clock.wallTime)
        let page = try await gate.read(.any(.tokenCreate), context) { transaction, standing in
            let tokens = try transaction.usableJoinTokens(
                now: now,
                after: after,
                limit: Self.pageMax
            )
            // Whoever may admit agents of certain names sees theirs.
            let shown = try tokens.compactMap { token in
                let id = try logic.agentID(token.name).description
                return standing.may(.tokenCreate, spiffeID: id) ? (token: token, id: id) : nil
            }
            return (shown: shown, last: tokens.count == Self.pageMax ? tokens.last?.hash : nil)
        }
        return .with {
            $0.tokens = page.shown.map { token, id in
                .with {
                    $0.id = token.id
                    $0.agentName = token.name
                    $0.agentSpiffeID = id
                    $0.nodeSelectors = token.selectors.sorted().map(\.description)
                    $0.createdAtUnixSeconds = token.createdAt.wholeSeconds
                    $0.expiresAtUnixSeconds = token.expiresAt.wholeSeconds
                    $0.createdBy = token.createdBy
                }
            }
            $0.nextPageToken = page.last.map { Hexadecimal.text($0) } ?? ""
        }
    }

    func deleteTokens(
        request: Signet_Admin_V1alpha1_DeleteTokensRequest,
        context: ServerContext
    ) async throws -> Signet_Admin_V1alpha1_DeleteTokensResponse {
        let (logic, name) = (core.logic, request.agentName)
        let id = try logic.agentID(name)
        let deleted = try await gate.write(
            .exactly(.tokenCreate, spiffeID: id.description),
            context
        ) { transaction, standing in
            try logic.deleteTokens(ofNode: name, by: standing, in: transaction)
        }
        return .with { $0.deleted = deleted }
    }
}

extension JoinTokenRecord {
    /// What names a token in the audit log too; its secret is told to nobody.
    var id: String { Hexadecimal.text(hash.prefix(8)) }
}
