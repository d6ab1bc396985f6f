// SPDX-License-Identifier: Apache-2.0

/// What a pair of proxies is to do; every product gets the same.
struct ProxySetup: Sendable {
    enum Traffic: String, Sendable {
        case http
        case tcp
    }

    /// How much is done for each request beside passing it on.
    enum Level: String, Sendable {
        /// No access log, no request ID, one identity that is allowed.
        case bare
        /// An access log in JSON to a file, and the policy of `ProxyRule.policy`.
        case full
    }

    enum KeyExchange: String, Sendable {
        case x25519 = "X25519"
        case hybrid = "X25519MLKEM768"
    }

    let traffic: Traffic
    var level = Level.bare
    var keyExchange = KeyExchange.x25519
    /// In place of the level's own.
    var rules: [ProxyRule]?

    /// How many certificates and identities are revoked, none of them the load's; Signet alone can be
    /// told.
    var revoked = 0

    var effectiveRules: [ProxyRule] {
        rules ?? (level == .bare || traffic == .tcp ? ProxyRule.oneClient : ProxyRule.policy)
    }
}

/// One rule of a policy, in the common part of what the products can say.
///
/// A request is allowed when no `deny` rule and some `allow` rule matches. An empty list matches
/// everything.
struct ProxyRule: Codable, Sendable {
    enum Action: String, Codable, Sendable {
        case allow
        case deny
    }

    let action: Action
    /// Names of `ProxyIdentity`.
    var principals: [String] = []
    var methods: [String] = []
    /// Each ends with a slash.
    var pathPrefixes: [String] = []

    static let oneClient = [ProxyRule(action: .allow, principals: [ProxyIdentity.client.name])]

    /// A policy as a service of a shop would have it; the load matches the last rule.
    static let policy: [ProxyRule] = [
        ProxyRule(action: .deny, pathPrefixes: ["/admin/"]),
        ProxyRule(action: .deny, methods: ["TRACE", "CONNECT"]),
        ProxyRule(
            action: .allow,
            principals: ["reports"],
            methods: ["GET"],
            pathPrefixes: ["/orders/", "/reports/"]
        ),
        ProxyRule(
            action: .allow,
            principals: ["billing"],
            methods: ["GET", "POST"],
            pathPrefixes: ["/invoices/"]
        ),
        ProxyRule(action: .allow, principals: ["monitor"], methods: ["GET"]),
        ProxyRule(
            action: .allow,
            principals: ["warehouse"],
            methods: ["GET", "PUT"],
            pathPrefixes: ["/stock/"]
        ),
        ProxyRule(
            action: .allow,
            principals: ["client", "billing"],
            methods: ["POST"],
            pathPrefixes: ["/hash/", "/orders/"]
        ),
        ProxyRule(
            action: .allow,
            principals: ["client"],
            methods: ["GET", "HEAD"],
            pathPrefixes: ["/b/", "/head/"]
        ),
    ]

    /// The policy with so many more rules: 1,000 callers, the load's own among them, which may
    /// each read under paths of their own.
    static func policy(with more: Int) -> [ProxyRule] {
        policy
            + (0..<more).map { number in
                let caller = number % 1000
                return ProxyRule(
                    action: .allow,
                    principals: [caller == 0 ? ProxyIdentity.client.name : "caller-\(caller)"],
                    methods: ["GET"],
                    pathPrefixes: ["/caller-\(caller)/part-\(number / 1000)/"]
                )
            }
    }
}

/// Who has a certificate.
enum ProxyIdentity: String, CaseIterable, Sendable {
    case client
    case server
    /// Of the right authority, and neither of the two.
    case stranger
    /// Named as the client, by an authority that nobody trusts.
    case forged

    static let trustDomain = "bench.example.org"

    /// The last part of the SPIFFE ID, the common name, and the first part of the DNS name: not
    /// every product can look at a SPIFFE ID.
    var name: String { self == .forged ? ProxyIdentity.client.name : rawValue }
    var dnsName: String { "\(name).\(Self.trustDomain)" }
    var id: String { Self.id(name) }

    static func id(_ name: String) -> String { "spiffe://\(trustDomain)/ns/shop/sa/\(name)" }
}

/// One of the two proxies of a chain: where it listens and what it has.
struct ProxyPlace: Sendable {
    enum Side: String, Sendable {
        /// Plain in, mutual TLS out.
        case client
        /// Mutual TLS in, plain out.
        case server
    }

    let side: Side
    let listen: Int
    let forward: Int
    let identity: ProxyIdentity
    /// For files of its own.
    let folder: String
    let certificates: ProxyCertificates

    func path(_ name: String) -> String { "\(folder)/\(side.rawValue)-\(name)" }
    var certificate: String { certificates.chain(identity) }
    var key: String { certificates.key(identity) }
    var authorities: String { certificates.authorities }
    var accessLog: String { path("access.log") }
}

/// A program that can be both sides of a chain.
protocol ProxyProduct: Sendable {
    var name: String { get }
    /// Why it cannot be measured in this setup; nil when it can.
    func obstacle(to setup: ProxySetup) -> String?
    /// Writes what it has to be told and returns how it is started.
    func command(_ place: ProxyPlace, _ setup: ProxySetup) throws -> ProxyCommand
}

/// How a proxy is started.
struct ProxyCommand: Sendable {
    let executable: String
    let arguments: [String]
    /// Where its standard output goes, when that is its access log.
    var output: String?
}
