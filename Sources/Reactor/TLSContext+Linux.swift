// SPDX-License-Identifier: Apache-2.0

internal import CTLS

/// Everything that the sessions of one listener or of one kind of connection share.
///
/// TLS 1.3 with mutual authentication, without tickets, resumption and early data: nobody gets in
/// past the verification. It never changes: after a rotation new connections get a new context and
/// live ones keep theirs.
@safe package final class TLSContext: Sendable {
    /// Most identities of one context; a node proxy has one for each local service.
    package static let identitiesMax = 256

    /// An end of a connection.
    package enum Role: Sendable {
        case client
        case server
    }

    package let provider: TLSProvider
    package let role: Role
    nonisolated(unsafe) let context: OpaquePointer
    nonisolated(unsafe) let table: UnsafePointer<ctls_provider>

    /// Reads the identities.
    ///
    /// - Parameters:
    ///   - provider: The library.
    ///   - role: Which end of the connection it is for.
    ///   - identities: At least one. A server presents the one that the client asks for by name; a
    ///     client has only one.
    ///   - protocols: The ALPN names, best first; if there are any, the peer must agree to one.
    ///   - groups: Best first; those that the library lacks are left out.
    ///   - unknownNamesAreRefused: Whether a client that names none of the identities is refused,
    ///     instead of meeting the first one.
    /// - Throws: `TLSContextError`.
    package init(
        provider: TLSProvider,
        role: Role,
        identities: [TLSIdentity],
        protocols: [String] = [],
        groups: [TLSGroup] = TLSGroup.preferred,
        unknownNamesAreRefused: Bool = false
    ) throws(TLSContextError) {
        guard !identities.isEmpty else { throw .identityMissing }
        guard identities.count <= (role == .client ? 1 : Self.identitiesMax) else {
            throw .identitiesMany
        }
        let known = groups.filter(provider.supports).map(\.rawValue)
        guard !known.isEmpty else { throw .groupMissing }
        self.provider = provider
        self.role = role
        unsafe table = provider.table
        guard
            let context = unsafe Self.make(
                table: table,
                isServer: role == .server,
                refusesUnknownNames: unknownNamesAreRefused,
                groups: known,
                protocols: protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
            )
        else { throw .libraryFailed }
        unsafe self.context = context
        for (index, identity) in identities.enumerated() {
            switch unsafe Self.add(identity, to: context, table) {
            case ctls_identity_ok: break
            case ctls_identity_certificate_unreadable: throw .certificateUnreadable(index: index)
            case ctls_identity_key_unreadable: throw .keyUnreadable(index: index)
            case ctls_identity_key_differs: throw .keyDiffers(index: index)
            default: throw .libraryFailed
            }
        }
    }

    deinit { unsafe table.pointee.context_free(context) }

    private static func make(
        table: UnsafePointer<ctls_provider>,
        isServer: Bool,
        refusesUnknownNames: Bool,
        groups: [UInt16],
        protocols: [UInt8]
    ) -> OpaquePointer? {
        unsafe groups.withUnsafeBufferPointer { groups in
            unsafe protocols.withUnsafeBufferPointer { protocols in
                guard let first = groups.baseAddress else { return nil }
                var options = unsafe ctls_options(
                    is_server: isServer,
                    refuses_unknown_names: refusesUnknownNames,
                    groups: first,
                    group_count: groups.count,
                    protocols: protocols.baseAddress,
                    protocols_count: protocols.count
                )
                return unsafe table.pointee.context_new(&options)
            }
        }
    }

    private static func add(
        _ identity: TLSIdentity,
        to context: OpaquePointer,
        _ table: UnsafePointer<ctls_provider>
    ) -> ctls_identity_result {
        // Each name with a zero behind it.
        let names = identity.names.flatMap { Array($0.utf8.filter { $0 != 0 }) + [0] }
        let arrays = identity.chain + [identity.privateKeyPKCS8, names]
        return unsafe withBytes(arrays) { ranges in
            unsafe ranges.withUnsafeBufferPointer { ranges in
                guard let first = ranges.baseAddress else {
                    return ctls_identity_certificate_unreadable
                }
                let count = identity.chain.count
                return unsafe table.pointee.context_add_identity(
                    context,
                    first,
                    count,
                    ranges[count],
                    ranges[count + 1]
                )
            }
        }
    }
}

/// Why there is no context.
package enum TLSContextError: Error, Hashable, Sendable, CustomStringConvertible {
    case certificateUnreadable(index: Int)
    case groupMissing
    case identitiesMany
    case identityMissing
    /// The key is not that of the leaf.
    case keyDiffers(index: Int)
    case keyUnreadable(index: Int)
    case libraryFailed

    package var description: String {
        switch self {
        case .certificateUnreadable(let index): "a certificate of identity \(index) is unreadable"
        case .groupMissing: "the TLS library has none of the groups"
        case .identitiesMany: "there are more than \(TLSContext.identitiesMax) identities"
        case .identityMissing: "there is no identity to present"
        case .keyDiffers(let index): "the key of identity \(index) is not that of its certificate"
        case .keyUnreadable(let index): "the key of identity \(index) is no PKCS#8 key"
        case .libraryFailed: "the TLS library has no memory or refuses its settings"
        }
    }
}
