// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
package import NodeSync
package import SPIFFE

/// Why a process gets no Proxy.
package enum ProxyRefusal: Error, Hashable, Sendable {
    /// Another process has the Proxy on this machine, and is there.
    case alreadyServed(proxy: String, pid: Int32)
    /// The process attests to Proxies of several namespaces, and did not say which it is: whoever
    /// administers one would speak for the other.
    case ambiguous([String])
    /// The process attests to a Proxy but for selectors that could not be found out: nobody has
    /// taken it away from it.
    case attestedInPart([String])
    /// Another process of this machine has the instance that this one says it is, or had it: its
    /// decisions would be taken for this one's.
    case instanceTaken
    /// No Proxy in force on this node means the process, or not the one it names.
    case noProxy
    /// The process attests to several Proxies of one namespace, and did not say which it is.
    case severalProxies([String])

    /// The case's name.
    package var reason: String {
        switch self {
        case .alreadyServed: "alreadyServed"
        case .ambiguous: "ambiguous"
        case .attestedInPart: "attestedInPart"
        case .instanceTaken: "instanceTaken"
        case .noProxy: "noProxy"
        case .severalProxies: "severalProxies"
        }
    }

    /// Most Proxies that a refusal names; the first ones show what is wrong.
    static let namedMax = 10

    func error(pid: Int32) -> APIError {
        switch self {
        case .alreadyServed(let proxy, let other):
            APIError(
                .conflict,
                reason,
                "process \(other) has Proxy \(proxy) on this machine; end it, or let it drain"
            )
        case .ambiguous(let names):
            APIError(
                .permissionDenied,
                reason,
                "this process attests to Proxies of several namespaces (\(Self.list(names))); name "
                    + "one (--proxy), and give each proxy a user of its own"
            )
        case .attestedInPart(let omissions):
            APIError(
                .permissionDenied,
                reason,
                "this process would attest to a Proxy but for selectors that could not be found out "
                    + "(\(omissions.joined(separator: "; "))); mend that, or start the proxy anew"
            )
        case .instanceTaken:
            APIError(
                .conflict,
                reason,
                "another process of this machine has the instance that this one chose, or had it; "
                    + "start the proxy anew, it chooses another one"
            )
        case .noProxy:
            APIError(
                .permissionDenied,
                reason,
                "this process attests to the selectors of no Proxy on this node, or not of the one "
                    + "it names; an admin can ask signet explain workload --pid \(pid)"
            )
        case .severalProxies(let names):
            APIError(
                .failedPrecondition,
                reason,
                "this process attests to several Proxies (\(Self.list(names))); name one (--proxy)"
            )
        }
    }

    private static func list(_ names: [String]) -> String {
        let shown = names.prefix(namedMax).joined(separator: ", ")
        return names.count > namedMax ? shown + " and more" : shown
    }
}

/// Which Proxy a process is.
package enum ProxyMatch {
    /// The one Proxy that a process may have.
    ///
    /// - Parameters:
    ///   - named: What the process says it is; empty: it does not say.
    ///   - candidates: The Proxies in force here whose selectors it attested to.
    /// - Returns: The Proxy.
    /// - Throws: `ProxyRefusal` naming what stands against it.
    package static func proxy(
        named: String,
        meaning candidates: [NodeProxy]
    ) throws(ProxyRefusal) -> NodeProxy {
        guard let first = candidates.first else { throw .noProxy }
        // A Proxy that somebody wrote in another namespace does not shut out who says what it is.
        guard named.isEmpty else {
            guard let proxy = candidates.first(where: { $0.reference == named }) else {
                throw .noProxy
            }
            return proxy
        }
        let names = candidates.map(\.reference)
        guard candidates.allSatisfy({ $0.namespace == first.namespace }) else {
            throw .ambiguous(names)
        }
        guard candidates.count == 1 else { throw .severalProxies(names) }
        return first
    }

    /// Whether a Proxy may mean a process.
    ///
    /// - Parameters:
    ///   - proxy: In force here.
    ///   - selectors: What the process attested to.
    ///   - omitted: Kinds of `unix:` selectors that could not be found out.
    /// - Returns: Whether it shows all selectors but such.
    package static func isInPart(
        _ proxy: NodeProxy,
        _ selectors: Set<Selector>,
        without omitted: Set<String>
    ) -> Bool {
        proxy.selectors.allSatisfy { selector in
            selectors.contains(selector)
                || selector.type == "unix"
                    && omitted.contains(String(selector.value.prefix { $0 != ":" }))
        }
    }
}
