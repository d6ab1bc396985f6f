// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE

/// Values of one small node, for the tests of the cache.
struct CacheValues {
    static let start = Date(timeIntervalSince1970: 1_800_000_000)

    let trustDomain: TrustDomain
    let foreign: TrustDomain
    let node: TemplateNode

    init() throws {
        trustDomain = try TrustDomain("example.org")
        foreign = try TrustDomain("foreign.org")
        node = TemplateNode(name: "node-1", selectors: [try Selector("role:web")])
    }

    func cache() -> NodeCache { NodeCache(trustDomain: trustDomain, node: node) }

    func time(_ seconds: Double) -> Date { Self.start.addingTimeInterval(seconds) }

    func bundle(_ trustDomain: TrustDomain, _ sequence: UInt64 = 1) -> TrustBundle {
        TrustBundle(
            trustDomain: trustDomain,
            x509Authorities: [[UInt8(truncatingIfNeeded: sequence)]],
            x509Intermediates: [],
            sequenceNumber: sequence,
            refreshHintSeconds: 300
        )
    }

    func entry(
        _ id: String,
        spiffeID: String? = nil,
        node: [String] = ["role:web"],
        workload: [String] = ["unix:uid:1"],
        created: Double = 0,
        bounds: [String: VariableBound] = [:],
        ttl: Int? = nil,
        dnsNames: [String] = [],
        federatesWith: [String] = [],
        hint: String = "",
        expires: Date? = nil
    ) throws -> RegistrationEntry {
        RegistrationEntry(
            id: id,
            namespace: "default",
            name: id,
            revision: 1,
            createdAt: time(created),
            spiffeID: spiffeID ?? "spiffe://example.org/\(id)",
            variableBounds: bounds,
            nodeSelectors: try node.map { try Selector($0) },
            workloadSelectors: try workload.map { try Selector($0) },
            x509SVIDTTLSeconds: ttl,
            dnsNames: dnsNames,
            federatesWith: federatesWith,
            hint: hint,
            expires: expires
        )
    }

    func key(
        _ entryID: String,
        _ spiffeID: String? = nil,
        proxy: String? = nil
    ) throws -> IdentityKey {
        IdentityKey(
            entryID: entryID,
            spiffeID: try SPIFFEID(spiffeID ?? "spiffe://example.org/\(entryID)"),
            holder: proxy.map { .proxy("default/\($0)") } ?? .workload
        )
    }

    func proxy(
        _ name: String,
        _ identities: [String],
        namespace: String = "default",
        node: [String] = ["role:web"],
        selectors: [String] = ["unix:uid:7"],
        payload: [UInt8] = [1]
    ) throws -> NodeProxy {
        NodeProxy(
            reference: "\(namespace)/\(name)",
            namespace: namespace,
            nodeSelectors: try node.map { try Selector($0) },
            selectors: try selectors.map { try Selector($0) },
            identities: try identities.map { try SPIFFEID("spiffe://example.org/\($0)") },
            payload: payload
        )
    }

    func issued(
        _ key: IdentityKey,
        at seconds: Double = 0,
        lifetime: Double = 3_600,
        serial: UInt8 = 1,
        dnsNames: [String] = [],
        authority: [UInt8] = [1],
        notBefore: Double? = nil
    ) -> IssuedSVID {
        IssuedSVID(
            svid: X509SVID(
                id: key.spiffeID,
                certificateChain: [[serial]],
                privateKeyPKCS8: [serial],
                issuedAt: time(seconds),
                notAfter: time(seconds + lifetime),
                hint: "",
                entryID: key.entryID,
                serial: [serial]
            ),
            dnsNames: dnsNames,
            authorityKeyID: authority,
            notBefore: time(notBefore ?? seconds - 60),
            holder: key.holder
        )
    }

    func selectors(_ texts: String...) throws -> Set<Selector> {
        Set(try texts.map { try Selector($0) })
    }
}

extension [NodeCache.Action] {
    var woken: [SubscriberID] {
        flatMap { action -> [SubscriberID] in
            if case .wake(let subscribers) = action { subscribers } else { [] }
        }
    }

    var demand: [DemandChange] {
        flatMap { action -> [DemandChange] in
            if case .demand(let changes) = action { changes } else { [] }
        }
    }

    var discarded: [IdentityKey] {
        flatMap { action -> [IdentityKey] in
            if case .discarded(let keys) = action { keys } else { [] }
        }
    }

    var timer: Date? {
        compactMap { action -> Date? in
            if case .scheduleTimer(let at) = action { at } else { nil }
        }.last
    }
}
