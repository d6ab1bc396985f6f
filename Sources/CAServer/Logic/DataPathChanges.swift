// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import Datastore
package import SPIFFE

/// What connected agents and proxies can do, as far as it decides about documents.
package struct DocumentPeers: Sendable {
    /// The connected agents that show node selectors and lack a capability.
    package let agentsLacking: @Sendable (_ showing: [Selector], _ capability: String) -> [String]
    /// The attached processes of a Proxy, as `node/namespace/name`, that lack one of capabilities.
    package let proxiesLacking: @Sendable (_ proxy: String, _ one: Set<String>) -> [String]
    /// Whether there are agents, and none shows all of these node selectors.
    package let nobodyShows: @Sendable ([Selector]) -> Bool

    package init(
        agentsLacking: @escaping @Sendable ([Selector], String) -> [String],
        proxiesLacking: @escaping @Sendable (String, Set<String>) -> [String],
        nobodyShows: @escaping @Sendable ([Selector]) -> Bool
    ) {
        self.agentsLacking = agentsLacking
        self.proxiesLacking = proxiesLacking
        self.nobodyShows = nobodyShows
    }

    /// Nobody is connected.
    package static let none = Self(
        agentsLacking: { _, _ in [] },
        proxiesLacking: { _, _ in [] },
        nobodyShows: { _ in false }
    )
}

/// What an order has changed of what the states of proxies are made of.
struct DataPathChanges {
    /// Namespaces of which a Service or a policy changed; a policy of the root namespace changes
    /// every one.
    private var namespaces: Set<String> = []
    private var isEverywhere = false
    /// The IDs, or templates of them, that entries gave or give, by namespace.
    private var identities: [String: Set<String>] = [:]
    /// The Proxies that were written or deleted.
    private var proxies: Set<DocumentKey> = []
    /// Namespaces that have an entry with variables more.
    private(set) var withMoreTemplates: Set<String> = []

    var isEmpty: Bool {
        namespaces.isEmpty && !isEverywhere && identities.isEmpty && proxies.isEmpty
    }

    /// The only namespace that is concerned; nil if there may be several.
    var onlyNamespace: String? {
        let all = namespaces.union(identities.keys).union(proxies.map(\.namespace))
        return !isEverywhere && all.count == 1 ? all.first : nil
    }

    mutating func changed(_ key: DocumentKey) {
        guard key.group == DocumentKey.nativeGroup else { return }
        switch key.kind {
        case DataPathKind.accessPolicy where key.namespace == AdminRole.rootNamespace:
            isEverywhere = true
        case DataPathKind.accessPolicy, DataPathKind.service: namespaces.insert(key.namespace)
        case DataPathKind.proxy: proxies.insert(key)
        default: break
        }
    }

    mutating func changed(_ entry: RegistrationEntry?, from before: RegistrationEntry?) {
        for entry in [entry, before].compactMap(\.self) {
            identities[entry.namespace, default: []].insert(entry.spiffeID)
        }
        if let entry, entry.isTemplate, before?.isTemplate != true {
            withMoreTemplates.insert(entry.namespace)
        }
    }

    /// Whether a policy is judged over every Proxy that it could hold for: of others only those are
    /// looked at that something else changed.
    func judges(_ key: DocumentKey) -> Bool {
        isEverywhere || namespaces.contains(key.namespace)
    }

    /// Whether the state of a Proxy may differ now.
    func concern(_ proxy: ProxyRecord, at key: DocumentKey) -> Bool {
        isEverywhere || namespaces.contains(proxy.namespace) || proxies.contains(key)
            || concernEntries(of: proxy)
    }

    /// Whether an entry that gives one of its identities changed.
    func concernEntries(of proxy: ProxyRecord) -> Bool {
        guard let texts = identities[proxy.namespace] else { return false }
        return texts.contains { text in
            guard let template = try? IDTemplate(parsing: text) else { return false }
            return proxy.identities.contains { template.mayBecome($0) }
        }
    }
}

extension RegistrationEntry {
    /// Whether its ID has variables.
    fileprivate var isTemplate: Bool { spiffeID.utf8.contains(UInt8(ascii: "{")) }
}
