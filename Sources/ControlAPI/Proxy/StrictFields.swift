// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf

/// What several messages of the data path are held to: nothing unknown, nothing twice, no field
/// that somebody could read in another way.
enum StrictFields {
    /// Longest name of a namespace, a document or a listener: a DNS name in form (RFC 1123).
    static let nameBytesMax = 253

    /// Refuses fields that this version does not know: they may narrow what it would grant.
    static func known(
        _ message: some SwiftProtobuf.Message,
        _ field: String
    ) throws(WireError) {
        guard message.unknownFields.data.isEmpty else {
            throw .field(field, "it has a field that this version does not know; update this side")
        }
    }

    /// A name of a document or a listener: `[a-z0-9]([a-z0-9.-]*[a-z0-9])?`, 1 to 253 bytes.
    static func name(_ text: String, _ field: String) throws(WireError) -> String {
        let bytes = text.utf8
        guard let first = bytes.first, let last = bytes.last, bytes.count <= nameBytesMax,
            isAlphanumeric(first), isAlphanumeric(last),
            bytes.allSatisfy({
                isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
            })
        else {
            throw .field(
                field,
                "not a name of a-z, 0-9, \"-\" and \".\", 1 to \(nameBytesMax) bytes"
            )
        }
        return text
    }

    static func identity(_ text: String, _ field: String) throws(WireError) -> SPIFFEID {
        let id: SPIFFEID
        do { id = try SPIFFEID(text) } catch { throw .field(field, error.description) }
        guard !id.path.isEmpty, !id.isReserved else {
            throw .field(field, "not the ID of a workload: its path is empty or below /signet/")
        }
        return id
    }

    static func address(
        _ text: String,
        _ field: String
    ) throws(WireError) -> Routing.SocketAddress {
        guard let address = SocketAddress(text) else {
            throw .field(field, "not IP:port, as 192.0.2.1:443 or [2001:db8::1]:443")
        }
        return address
    }

    static func loopback(
        _ text: String,
        _ field: String
    ) throws(WireError) -> Routing.SocketAddress {
        let address = try address(text, field)
        guard address.isLoopback else { throw .field(field, "not a loopback address") }
        return address
    }

    /// The absolute path of a Unix socket, as documents may say it.
    static func socketPath(_ text: String, _ field: String) throws(WireError) -> String {
        if let what = Proxy.socketPathFlaw(text) { throw .field(field, what) }
        return text
    }

    static func port(_ number: UInt32, _ field: String) throws(WireError) -> UInt16 {
        guard let port = UInt16(exactly: number), port > 0 else {
            throw .field(field, "not a port from 1 to 65535")
        }
        return port
    }

    /// A list that must not be empty, longer than `max` or hold anything twice.
    static func set<Element: Hashable>(
        _ elements: [Element],
        _ field: String,
        max: Int
    ) throws(WireError) -> [Element] {
        guard !elements.isEmpty else { throw .missing(field) }
        try single(elements, field, max: max)
        return elements
    }

    /// Refuses a list that is longer than `max` or holds anything twice.
    static func single(
        _ elements: [some Hashable],
        _ field: String,
        max: Int
    ) throws(WireError) {
        guard elements.count <= max else { throw .tooMany(field, max: max) }
        guard Set(elements).count == elements.count else {
            throw .field(field, "it holds something twice")
        }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: false
        }
    }
}
