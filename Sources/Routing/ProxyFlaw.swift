// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics
internal import SPIFFE

/// What does not fit in a Proxy, although each part could be read (docs/decisions/0009).
package struct ProxyFlaw: Hashable, Sendable {
    /// The part that is wrong.
    package enum Place: Hashable, Sendable {
        case whole
        /// A listener by its place in its list, and the key in it.
        case inbound(Int, String)
        case outbound(Int, String)
    }

    package let place: Place
    package let what: String
    package let remedy: String
}

extension Proxy {
    /// Where sockets of Signet itself are; nothing of a workload may be there.
    package static let ownSocketFolder = "/run/signet"

    /// Everything that does not fit; empty for what a document may say.
    package var flaws: [ProxyFlaw] {
        var flaws: [ProxyFlaw] = []
        func add(_ place: ProxyFlaw.Place, _ what: String, _ remedy: String) {
            flaws.append(ProxyFlaw(place: place, what: what, remedy: remedy))
        }
        if inbound.isEmpty && outbound.isEmpty {
            add(.whole, "there is no listener", "add one to inbound or outbound")
        }
        if nodeSelectors.isEmpty || selectors.isEmpty || identities.isEmpty {
            add(.whole, "selectors and identities may not be empty", "add them")
        }
        if identities.contains(where: \.isReserved) {
            add(.whole, "an identity is Signet's own", "remove it")
        }
        var names: Set<String> = []
        for (place, listener) in inbound.enumerated() {
            if !names.insert(listener.name).inserted {
                add(.inbound(place, "name"), "another listener has the name", "rename one")
            }
            if !identities.contains(listener.identity) {
                add(.inbound(place, "identity"), "it is not in identities", "add it there")
            }
            for (what, remedy) in forwardFlaws(listener) {
                add(.inbound(place, "forward"), what, remedy)
            }
            if listener.workloadPort == 0 {
                add(.inbound(place, "workloadPort"), "0 is not a port", "write another")
            }
        }
        for (place, listener) in outbound.enumerated() {
            if !names.insert(listener.name).inserted {
                add(.outbound(place, "name"), "another listener has the name", "rename one")
            }
            if !identities.contains(listener.identity) {
                add(.outbound(place, "identity"), "it is not in identities", "add it there")
            }
            if listener.allowedUIDs.isEmpty {
                add(.outbound(place, "allow"), "nobody may connect", "list uids")
            }
            switch listener.listen {
            case .address(let address):
                if !address.isLoopback {
                    add(
                        .outbound(place, "address"),
                        "\(address) is not a loopback address, so that others could use it",
                        "write 127.0.0.1 or [::1], or a Unix socket"
                    )
                }
            case .unix(let path):
                if let what = Self.socketPathFlaw(path) {
                    add(.outbound(place, "unix"), what, "write another path")
                }
            }
        }
        for (place, what) in doubles { add(place, what, "write another") }
        return flaws
    }

    private func forwardFlaws(_ listener: InboundListener) -> [(String, String)] {
        switch listener.forward {
        case .address(let address):
            guard address.isLoopback else {
                return [
                    (
                        "\(address) is not a loopback address, so that it would leave the machine "
                            + "in the clear",
                        "write 127.0.0.1 or [::1], or a Unix socket"
                    )
                ]
            }
            guard address.port == listener.workloadPort else {
                return [("its port is not the one that policies see", "remove workloadPort")]
            }
            let own = inbound.map(\.address) + outbound.compactMap(\.socketAddress)
            return own.contains { $0.overlaps(address) }
                ? [("this Proxy listens at \(address) itself", "write the application's address")]
                : []
        case .unix(let path):
            if let what = Self.socketPathFlaw(path) { return [(what, "write another path")] }
            let listens = outbound.contains { $0.listen == .unix(path) }
            return listens
                ? [("this Proxy listens at \(path) itself", "write the application's socket")] : []
        }
    }

    /// Listeners at one place.
    private var doubles: [(ProxyFlaw.Place, String)] {
        var taken: [SocketAddress] = []
        var paths: Set<String> = []
        var doubles: [(ProxyFlaw.Place, String)] = []
        func take(_ address: SocketAddress, _ place: ProxyFlaw.Place) {
            if let other = taken.first(where: { $0.overlaps(address) }) {
                doubles.append((place, "another listener has \(other)"))
            }
            taken.append(address)
        }
        for (place, listener) in inbound.enumerated() {
            take(listener.address, .inbound(place, "address"))
        }
        for (place, listener) in outbound.enumerated() {
            switch listener.listen {
            case .address(let address): take(address, .outbound(place, "address"))
            case .unix(let path):
                if !paths.insert(path).inserted {
                    doubles.append((.outbound(place, "unix"), "another listener has \(path)"))
                }
            }
        }
        return doubles
    }

    /// What is wrong with the path of a socket; nil when nothing is.
    package static func socketPathFlaw(_ path: String) -> String? {
        let parts = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard path.utf8.first == UInt8(ascii: "/"), let name = parts.last, !name.isEmpty else {
            return "it is not the absolute path of a socket"
        }
        guard path.utf8.count <= socketPathBytesMax else {
            return "it is longer than the \(socketPathBytesMax) bytes that the kernel takes"
        }
        guard path.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            return "it holds a control character"
        }
        let isPlain = parts.dropFirst().allSatisfy {
            !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8)
        }
        guard isPlain else { return "it has an empty part, . or .." }
        // Another spelling of /run.
        for folder in [ownSocketFolder, "/var" + ownSocketFolder]
        where path == folder || path.utf8.starts(with: (folder + "/").utf8) {
            return "\(folder) is for Signet's own sockets"
        }
        return nil
    }
}

extension OutboundListener {
    fileprivate var socketAddress: SocketAddress? {
        if case .address(let address) = listen { address } else { nil }
    }
}

extension SocketAddress {
    /// Whether one process cannot listen at both: the same port of the same address, or of all.
    package func overlaps(_ other: SocketAddress) -> Bool {
        guard port == other.port else { return false }
        return address == other.address || isEvery(of: other) || other.isEvery(of: self)
    }

    /// Whether it stands for every address of another's family; `::` for both.
    private func isEvery(of other: SocketAddress) -> Bool {
        address == IPAddress(high: 0, low: 0)
            || address == IPAddress(ipv4: 0) && other.address.isIPv4
    }
}
