// SPDX-License-Identifier: Apache-2.0

import Datastore
import Foundation
import NodeSync
import SPIFFE

/// A store in a directory of its own, which goes with it.
final class TemporaryStore: Sendable {
    let directory: String

    var path: String { directory + "/store.db" }

    init() throws {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("datastore-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        directory = url.path
    }

    deinit {
        try? FileManager.default.removeItem(atPath: directory)
    }

    func open(_ change: (inout DatastoreOptions) -> Void = { _ in }) throws -> ServerStore {
        var options = DatastoreOptions()
        change(&options)
        return try ServerStore(path: path, options: options)
    }

    /// A store that belongs to a server already.
    func openEstablished(
        _ change: (inout DatastoreOptions) -> Void = { _ in }
    ) throws -> ServerStore {
        let store = try open(change)
        try store.writeNow { try $0.establish(.sample()) }
        return store
    }
}

/// A noon on which every test happens.
let noon = Date(timeIntervalSince1970: 1_800_000_000)

extension StoreIdentity {
    static func sample(epochByte: UInt8 = 7) throws -> StoreIdentity {
        StoreIdentity(
            trustDomain: try TrustDomain("example.org"),
            serverID: "s1",
            epoch: try Epoch(bytes: Array(repeating: epochByte, count: 16)),
            createdAt: noon
        )
    }
}

extension RegistrationEntry {
    static func sample(
        _ id: String,
        revision: UInt64,
        node: [String] = ["role:web"],
        spiffeID: String = "spiffe://example.org/web",
        namespace: String = "default"
    ) throws -> RegistrationEntry {
        RegistrationEntry(
            id: id,
            namespace: namespace,
            name: id,
            revision: revision,
            createdAt: noon,
            spiffeID: spiffeID,
            nodeSelectors: try node.map { try Selector($0) },
            workloadSelectors: [try Selector("unix:uid:1000")]
        )
    }
}

extension Set<Selector> {
    init(_ texts: String...) throws {
        self = Set(try texts.map { try Selector($0) })
    }
}

extension NodeRecord {
    static func sample(
        _ name: String,
        serial: UInt8 = 1,
        selectors: Set<Selector>? = nil
    ) throws -> NodeRecord {
        NodeRecord(
            name: name,
            spiffeID: try SPIFFEID("spiffe://example.org/signet/agent/\(name)"),
            selectors: try selectors ?? Set("role:web", "token:\(name)"),
            keySPKISHA256: Array(repeating: serial, count: 32),
            attestationMethod: "join_token",
            serial: [serial],
            notAfter: noon + 3600,
            createdAt: noon,
            lastSeen: noon
        )
    }
}

extension JoinTokenRecord {
    static func sample(
        _ byte: UInt8,
        name: String? = nil,
        expiresAt: Date = noon + 600
    ) throws -> JoinTokenRecord {
        JoinTokenRecord(
            hash: Array(repeating: byte, count: 32),
            name: name ?? "web-\(byte)",
            selectors: try Set("role:web"),
            expiresAt: expiresAt,
            createdBy: "uid:0@host",
            createdAt: noon
        )
    }
}

extension AuthorityRecord {
    static func sample(
        _ id: String,
        state: String = "prepared",
        activatedAt: Date? = nil
    ) -> AuthorityRecord {
        AuthorityRecord(
            id: id,
            serverID: "s1",
            state: state,
            certificateDER: [0x30, 0x00],
            tokenKeySPKI: nil,
            publishedAt: noon,
            activatedAt: activatedAt,
            notBefore: noon - 60,
            notAfter: noon + 86_400
        )
    }
}

extension IssuanceIntent {
    static func sample(
        _ serial: UInt8,
        authority: String = "a1",
        notAfter: Date = noon + 3600,
        leaf: UInt64 = 5
    ) -> IssuanceIntent {
        IssuanceIntent(
            serial: [serial],
            authorityID: authority,
            spiffeID: "spiffe://example.org/web",
            entryID: "e1",
            entryRevision: 3,
            tbsSHA256: Array(repeating: serial, count: 32),
            notAfter: notAfter,
            node: "web-1",
            revision: 4,
            leafIndex: leaf
        )
    }
}

extension AuditLeafFields {
    static func sample(
        event: String = "svidsIssued",
        actor: String = "system:test",
        namespaces: [String] = [],
        spiffeIDs: [String] = [],
        serials: [String] = [],
        time: Date = noon
    ) -> AuditLeafFields {
        AuditLeafFields(
            time: time,
            event: event,
            actor: actor,
            namespaces: namespaces,
            spiffeIDs: spiffeIDs,
            serials: serials
        )
    }
}

extension Transaction {
    /// Appends a leaf whose content is `text`.
    @discardableResult
    func append(_ text: String, _ fields: AuditLeafFields = .sample()) throws -> UInt64 {
        try appendLeaf(
            bytes: Array(text.utf8),
            hash: Array(repeating: 0xAB, count: 32),
            fields: fields
        )
    }
}
