// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import NodeSync
internal import PolicyDocuments
internal import Routing
internal import SPIFFE

/// Makes the states of proxies from the documents of one view (docs/decisions/0009-data-path.md).
///
/// What several proxies share is read once.
struct ProxyComposer {
    /// Most bytes of a Proxy and the Services that it names, as agents are sent them.
    static let ownBytesMax = 128 << 10
    /// Most bytes of the policies of one namespace that hold for one Proxy; those of the root
    /// namespace have as much again, so that nobody fills the place of another.
    static let policyBytesMax = 384 << 10
    /// Most entries that are looked at for one identity of a Proxy.
    static let entriesPerIdentityMax = 1_000
    /// Most entries with variables of a namespace that has Proxies: any of them may give one of their
    /// identities, so all are read.
    static let templatesMax = 10_000
    /// Most policies, and most Services, of one namespace: all are read to compose a state.
    static let documentsPerNamespaceMax = 2_000

    let transaction: ReadTransaction
    let now: Date
    private var policies: [String: [DatedPolicy]] = [:]
    private var services: [String: [String: Service]] = [:]
    private var templates: [String: [RegistrationEntry]] = [:]

    init(in transaction: ReadTransaction, now: Date) {
        self.transaction = transaction
        self.now = now
    }

    /// What was made of one document.
    struct Composition {
        let record: ProxyRecord
        /// What is missing or too large; what is missing is left out of the state.
        let problems: [ProxyProblem]
        /// The inbound listeners in the state, as policies see them.
        let listeners: [KnownListener]
        /// The policies in the state.
        let policies: Set<PolicyReference>
        /// What its processes must understand beyond the first version.
        let capabilities: Set<String>
    }

    /// Makes the state of a stored Proxy.
    ///
    /// - Throws: `UnreadableDocument`, `DatastoreError`, `WireError`.
    mutating func compose(_ stored: StoredDocument) throws -> Composition {
        let document = try Document(stored: stored)
        guard let proxy = document.proxy else { throw UnreadableDocument(key: stored.key) }
        var problems: [ProxyProblem] = []
        var changesAt: [Date] = [document.metadata.expires].compactMap(\.self)
        let workloads = try workloads(of: proxy, &problems, &changesAt)
        let inbound = inbound(of: proxy, workloads, &problems)
        let (outbound, services) = try outbound(of: proxy, &problems)
        let chosen = Proxy(
            namespace: proxy.namespace,
            name: proxy.name,
            nodeSelectors: proxy.nodeSelectors,
            selectors: proxy.selectors,
            identities: proxy.identities,
            inbound: inbound,
            outbound: outbound
        )
        let held = try policies(for: chosen, workloads, &problems, &changesAt)
        let state = ProxyState(
            proxy: chosen,
            services: services,
            policies: held.policies.map(\.encoded),
            inboundPolicies: held.places
        )
        let payload = try encoded(state, policyBytes: held.bytes, &problems)
        let record = ProxyRecord(
            id: stored.uid,
            namespace: proxy.namespace,
            name: proxy.name,
            revision: stored.resourceVersion,
            nodeSelectors: proxy.nodeSelectors,
            identities: proxy.identities,
            expires: document.metadata.expires,
            state: payload,
            changesAt: changesAt.filter { $0 > now }.min()
        )
        return Composition(
            record: record,
            problems: problems,
            listeners: inbound.flatMap { listener in
                (workloads[listener.identity]?.policed ?? []).map { workload in
                    KnownListener(
                        workload: workload,
                        port: listener.workloadPort,
                        trafficProtocol: listener.trafficProtocol
                    )
                }
            },
            policies: Set(held.policies.map(\.reference)),
            capabilities: state.capabilities
        )
    }

    // MARK: - Parts

    /// What the entries of the namespace say of each identity.
    private mutating func workloads(
        of proxy: Proxy,
        _ problems: inout [ProxyProblem],
        _ changesAt: inout [Date]
    ) throws -> [SPIFFEID: ProxyWorkload] {
        var workloads: [SPIFFEID: ProxyWorkload] = [:]
        for id in proxy.identities {
            let workload = try workload(id, in: proxy.namespace)
            changesAt += workload.expiries
            if workload.policed.isEmpty { problems.append(.identityUnregistered(id)) }
            workloads[id] = workload
        }
        return workloads
    }

    /// What the entries of a namespace say of an identity, as far as they are in force.
    mutating func workload(_ id: SPIFFEID, in namespace: String) throws -> ProxyWorkload {
        let entries = try entries(of: namespace, thatMayGive: id)
        let services = try services(of: namespace).values.filter { $0.identities.contains(id) }
        return ProxyWorkload(
            id,
            in: namespace,
            entries: entries.filter { entry in entry.expires.map { now < $0 } ?? true },
            services: Set(services.map(\.name)),
            expiries: entries.compactMap(\.expires)
        )
    }

    /// The entries that give an identity whatever its workload is; where several do, each counts.
    ///
    /// - Throws: `APIError` when there are too many to read: with a part of them policies would be
    ///   left out.
    private mutating func entries(
        of namespace: String,
        thatMayGive id: SPIFFEID
    ) throws -> [RegistrationEntry] {
        let exact = try transaction.entries(
            namespace: namespace,
            naming: id,
            limit: Self.entriesPerIdentityMax + 1
        )
        let all =
            try templates[namespace]
            ?? transaction.templates(namespace: namespace, limit: Self.templatesMax + 1)
        templates[namespace] = all
        guard exact.count <= Self.entriesPerIdentityMax, all.count <= Self.templatesMax else {
            throw Self.tooManyEntries(of: namespace)
        }
        return (exact + all).filter { $0.needsNothingOfWorkload && $0.mayGive(id) }
    }

    static func tooManyEntries(of namespace: String) -> APIError {
        APIError(
            .exhausted,
            "tooManyEntries",
            "namespace \(namespace) has Proxies, so at most \(entriesPerIdentityMax) of its entries "
                + "may give one identity, and at most \(templatesMax) may have variables"
        )
    }

    /// The inbound listeners with the users that may listen behind them.
    private func inbound(
        of proxy: Proxy,
        _ workloads: [SPIFFEID: ProxyWorkload],
        _ problems: inout [ProxyProblem]
    ) -> [InboundListener] {
        proxy.inbound.compactMap { listener in
            guard listener.forwardUIDs.isEmpty else { return listener }
            let uids = workloads[listener.identity]?.uids ?? []
            guard (1...Proxy.allowedUIDsMax).contains(uids.count) else {
                problems.append(.forwardUsersUnknown(listener.name, listener.identity))
                return nil
            }
            return InboundListener(
                name: listener.name,
                address: listener.address,
                identity: listener.identity,
                trafficProtocol: listener.trafficProtocol,
                forward: listener.forward,
                forwardUIDs: uids,
                workloadPort: listener.workloadPort
            )
        }
    }

    /// The outbound listeners whose Service is there, and these Services.
    private mutating func outbound(
        of proxy: Proxy,
        _ problems: inout [ProxyProblem]
    ) throws -> ([OutboundListener], [Service]) {
        var listeners: [OutboundListener] = []
        var named: [String: Service] = [:]
        for listener in proxy.outbound {
            guard let service = try services(of: proxy.namespace)[listener.service] else {
                problems.append(.serviceMissing(listener.name, service: listener.service))
                continue
            }
            guard service.port(named: listener.port) != nil else {
                problems.append(
                    .portMissing(listener.name, service: listener.service, port: listener.port)
                )
                continue
            }
            listeners.append(listener)
            named[service.name] = service
        }
        return (listeners, named.values.sorted { $0.name < $1.name })
    }

    /// Every Service of a namespace, by name.
    private mutating func services(of namespace: String) throws -> [String: Service] {
        if let known = services[namespace] { return known }
        var found: [String: Service] = [:]
        for stored in try documents(DataPathKind.service, in: namespace) {
            guard let service = try Document(stored: stored).service else {
                throw UnreadableDocument(key: stored.key)
            }
            found[service.name] = service
        }
        services[namespace] = found
        return found
    }

    private func documents(_ kind: String, in namespace: String) throws -> [StoredDocument] {
        let filter = DocumentFilter(
            group: DocumentKey.nativeGroup,
            kind: kind,
            namespace: namespace
        )
        let max = Self.documentsPerNamespaceMax
        let stored = try transaction.documents(filter, limit: max + 1)
        guard stored.count <= max else {
            throw APIError(
                .exhausted,
                "tooManyDocuments",
                "namespace \(namespace) may hold at most \(max) documents of kind \(kind)"
            )
        }
        return stored
    }

    /// The policies that hold for at least one inbound listener, and their places by listener.
    private mutating func policies(
        for proxy: Proxy,
        _ workloads: [SPIFFEID: ProxyWorkload],
        _ problems: inout [ProxyProblem],
        _ changesAt: inout [Date]
    ) throws -> (policies: [DatedPolicy], places: [[Int]], bytes: [String: Int]) {
        let namespaces = Set([proxy.namespace, AdminRole.rootNamespace]).sorted()
        var held: [DatedPolicy] = []
        var places = proxy.inbound.map { _ in [Int]() }
        var bytes: [String: Int] = [:]
        for namespace in namespaces {
            for policy in try policies(of: namespace) where policy.policy.mode != .off {
                let listeners = proxy.inbound.indices.filter { index in
                    workloads[proxy.inbound[index].identity]?.isHeld(by: policy.policy) ?? false
                }
                guard !listeners.isEmpty else { continue }
                if let expires = policy.expires {
                    changesAt.append(expires)
                    guard now < expires else { continue }
                }
                for index in listeners { places[index].append(held.count) }
                held.append(policy)
                bytes[namespace, default: 0] += policy.encoded.count
            }
        }
        for (listener, own) in zip(proxy.inbound, places) {
            let asked = own.map { held[$0].policy }
            switch CompiledPolicySet.refusal(of: asked) {
            case nil: break
            case .clausesMax: problems.append(.clausesTooMany(listener.name))
            case .lateCostMax(let namespace):
                let most = asked.filter { $0.namespace == namespace }
                    .max { $0.lateCost < $1.lateCost }
                problems.append(
                    .policiesTooCostly(listener.name, most: most.map(PolicyReference.init))
                )
            }
        }
        if held.count > ProxyState.policiesMax {
            problems.append(.policiesTooMany(held.count))
        }
        for (namespace, count) in bytes.sorted(by: { $0.key < $1.key })
        where count > Self.policyBytesMax {
            problems.append(.policiesTooLarge(namespace: namespace, bytes: count))
        }
        return (held, places, bytes)
    }

    /// Every policy of a namespace, in order of their names.
    mutating func policies(of namespace: String) throws -> [DatedPolicy] {
        if let known = policies[namespace] { return known }
        let stored = try documents(DataPathKind.accessPolicy, in: namespace)
        // One that cannot be read may be a DENY: nothing is composed without it.
        let found = try stored.map { stored in
            guard let policy = try Document(stored: stored).accessPolicy else {
                throw UnreadableDocument(key: stored.key)
            }
            return policy
        }
        policies[namespace] = found
        return found
    }

    /// What agents are sent, which is what they can read.
    private func encoded(
        _ state: ProxyState,
        policyBytes: [String: Int],
        _ problems: inout [ProxyProblem]
    ) throws -> [UInt8] {
        let resource = try ResourcePayload.proxy(state).resource
        let own = resource.payload.count - policyBytes.values.reduce(0, +)
        if own > Self.ownBytesMax { problems.append(.tooLarge(bytes: own)) }
        do throws(WireError) {
            _ = try ResourcePayload(resource.key, resource.payload)
        } catch {
            problems.append(.unreadable(error.description))
        }
        return resource.payload
    }
}

/// What the entries of one identity say, as far as its proxy is concerned.
struct ProxyWorkload {
    /// By each entry: labels may differ.
    let policed: [PolicedWorkload]
    /// The users that its workloads run as, where entries name them.
    let uids: [UInt32]
    /// When one of its entries ends or has ended.
    let expiries: [Date]

    /// Whether a policy holds for it.
    ///
    /// Where entries differ, that counts against access: an ALLOW needs all of them.
    func isHeld(by policy: AccessPolicy) -> Bool {
        switch policy.action {
        case .allow: !policed.isEmpty && policed.allSatisfy { policy.holds(for: $0) }
        case .deny: policed.contains { policy.holds(for: $0) }
        }
    }

    init(
        _ id: SPIFFEID,
        in namespace: String,
        entries: [RegistrationEntry],
        services: Set<String>,
        expiries: [Date]
    ) {
        self.expiries = expiries
        let labels = Set(entries.map(\.labels))
        policed = labels.map { labels in
            PolicedWorkload(
                identity: id,
                namespace: namespace,
                labels: labels,
                services: services
            )
        }
        let prefix = "uid:"
        uids = Set(
            entries.flatMap(\.workloadSelectors).compactMap { selector in
                selector.type == "unix" && selector.value.hasPrefix(prefix)
                    ? UInt32(selector.value.dropFirst(prefix.count)) : nil
            }
        )
        .sorted()
    }
}

/// Why a Proxy cannot have all that its document says.
enum ProxyProblem: Hashable {
    case clausesTooMany(String)
    case forwardUsersUnknown(String, SPIFFEID)
    case identityUnregistered(SPIFFEID)
    /// Of a listener, and the policy that has most of what is compared one by one.
    case policiesTooCostly(String, most: PolicyReference?)
    case policiesTooLarge(namespace: String, bytes: Int)
    case policiesTooMany(Int)
    case portMissing(String, service: String, port: String)
    case serviceMissing(String, service: String)
    case tooLarge(bytes: Int)
    case unreadable(String)

    /// Whether an entry that is gone explains it: entries can always be deleted.
    var isForWantOfEntry: Bool {
        switch self {
        case .forwardUsersUnknown, .identityUnregistered: true
        case .clausesTooMany, .policiesTooCostly, .policiesTooLarge, .policiesTooMany,
            .portMissing, .serviceMissing, .tooLarge, .unreadable:
            false
        }
    }

    /// The name of the rule, for programs.
    var rule: String {
        switch self {
        case .forwardUsersUnknown: "forwardUsersUnknown"
        case .identityUnregistered: "identityUnregistered"
        case .clausesTooMany, .policiesTooCostly: "policiesTooCostly"
        case .policiesTooLarge, .policiesTooMany: "policiesTooLarge"
        case .portMissing: "portUnknown"
        case .serviceMissing: "serviceUnknown"
        case .tooLarge: "proxyTooLarge"
        case .unreadable: "proxyUnreadable"
        }
    }

    /// What is wrong and how to mend it, where the Proxy itself is written.
    func sentence(namespace: String) -> String {
        switch self {
        case .clausesTooMany(let listener):
            "inbound \(listener): the policies that hold for it have more than "
                + "\(CompiledPolicySet.clausesMax) pairs of a rule and an operation; narrow targets"
        case .forwardUsersUnknown(let listener, let id):
            "inbound \(listener): no entry of \(id) names a user (unix:uid:N) as whom the "
                + "application runs; write forward.uids"
        case .identityUnregistered(let id):
            "no RegistrationEntry of namespace \(namespace) gives \(id) to every workload of a "
                + "node; register it first or with the Proxy"
        case .policiesTooCostly(let listener, let most):
            "inbound \(listener): the policies of one namespace that hold for it have more than "
                + "\(CompiledPolicySet.lateCostMax) hosts, templates and values of conditions, each "
                + "of which a request may have to be compared with"
                + (most.map { ", most of them AccessPolicy \($0.namespace)/\($0.name)" } ?? "")
                + "; narrow targets, or name fewer"
        case .policiesTooLarge(let namespace, let bytes):
            "the policies of namespace \(namespace) that hold for it have \(bytes) bytes, more than "
                + "the \(ProxyComposer.policyBytesMax) allowed; narrow their targets"
        case .policiesTooMany(let count):
            "\(count) policies hold for it, more than the \(ProxyState.policiesMax) allowed; join "
                + "some, or narrow their targets"
        case .portMissing(let listener, let service, let port):
            "outbound \(listener): Service \(namespace)/\(service) has no port \(port)"
        case .serviceMissing(let listener, let service):
            "outbound \(listener): there is no Service \(namespace)/\(service); apply it first or "
                + "with the Proxy"
        case .tooLarge(let bytes):
            "it has \(bytes) bytes with the Services that it names, more than the "
                + "\(ProxyComposer.ownBytesMax) allowed; split it up"
        case .unreadable(let why): "a proxy could not read it: \(why)"
        }
    }
}

extension ProxyState {
    /// What a process must understand to do what it says.
    var capabilities: Set<String> {
        var needed: Set<String> = []
        needed.formUnion(policies.map(AccessPolicy.capability))
        if !observedPorts.isEmpty { needed.insert(SyncCapability.observedEndpoints) }
        return needed
    }
}
