// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
internal import Foundation

/// One proxy process of one machine, as its agent tells of it.
package struct ProxyView: Encodable, Sendable {
    /// An inbound listener that accepts connections.
    struct Listening: Encodable, Sendable {
        var listener: String
        var identity: String
        var address: String
    }

    /// What it does with what it was told.
    enum State: String, Encodable {
        case applied
        case left
        case refused
        case starting
    }

    var node: String
    var proxy: String
    var state: State
    /// The process is connected to its agent.
    var attached: Bool
    var appliedRevision: UInt64
    var refusedRevision: UInt64
    var refusedReason: String
    var listening: [Listening]
    var version: String
    var capabilities: [String]
    var pid: Int32
    var attachedAt: String
    /// With this its decision IDs begin.
    var decisionPrefix: String
    /// Only if asked for.
    var counters: [String: Double]?

    /// Reads what the server tells.
    package init(_ found: Signet_Admin_V1alpha1_ProxyOfNode) {
        let process = found.proxy
        node = found.node
        proxy = process.proxy
        attached = process.attached
        appliedRevision = process.applied.number
        refusedRevision = process.refused.number
        refusedReason = process.refusedReason
        listening = process.listening.map {
            Listening(listener: $0.listener, identity: $0.identity, address: $0.address)
        }
        version = process.version
        capabilities = process.capabilities
        pid = process.pid
        attachedAt = Terminal.time(unixMilliseconds: process.attachedAtUnixMilliseconds)
        decisionPrefix = Self.base32(process.instance)
        state =
            if !process.attached {
                .left
            } else if process.hasRefused {
                .refused
            } else {
                process.hasApplied ? .applied : .starting
            }
    }

    /// Whether somebody has to look after it.
    package var isFaulty: Bool { state == .refused || state == .left }

    /// What is wrong with it, as the end of a sentence.
    var fault: String {
        switch state {
        case .applied, .starting: "is as it should be"
        case .left:
            "left without draining but runs still, and may go on with what it has until its SVIDs "
                + "end"
        case .refused: "refused revision \(refusedRevision): \(refusedReason)"
        }
    }

    /// What to do about it.
    var remedy: String? {
        switch state {
        case .applied, .starting: nil
        case .left:
            "Its log, and its agent's, tell why. Once process \(pid) has ended it is not listed any "
                + "more; then start it again."
        case .refused:
            appliedRevision == 0
                ? "It has applied none yet and listens nowhere; its log tells more."
                : "It goes on with revision \(appliedRevision). `signet history Proxy/\(proxy)` "
                    + "shows what changed."
        }
    }

    private var shownState: String {
        switch state {
        case .applied: "applied"
        case .left: "LEFT"
        case .refused: "REFUSED"
        case .starting: "starting"
        }
    }

    /// A process that has applied nothing has no revision.
    private var shownRevision: String { appliedRevision == 0 ? "-" : String(appliedRevision) }

    /// One line for each process.
    package static func table(_ views: [Self]) -> Table {
        Table(
            empty: "no proxy is attached here; -A looks in every namespace",
            headings: ["PROXY", "NODE", "STATE", "REVISION", "LISTENS", "VERSION", "SINCE"],
            rows: views.map {
                let addresses = $0.listening.map(\.address)
                return [
                    $0.proxy, $0.node, $0.shownState, $0.shownRevision,
                    addresses.isEmpty ? "-" : addresses.joined(separator: " "), $0.version,
                    $0.attachedAt,
                ]
            }
        )
    }

    /// All fields of each process.
    package static func details(_ views: [Self]) -> Table {
        Table(
            empty: "no proxy is attached here; -A looks in every namespace",
            headings: ["PROXY", "NODE", "FIELD", "VALUE"],
            rows: views.flatMap { view in
                view.fields.map { [view.proxy, view.node, $0, $1.isEmpty ? "-" : $1] }
            }
        )
    }

    private var fields: [(String, String)] {
        [
            ("state", isFaulty ? "\(shownState): \(fault)" : shownState),
            ("applied revision", shownRevision),
            ("process", String(pid)), ("attached", attachedAt), ("version", version),
            ("capabilities", capabilities.joined(separator: " ")),
            ("decision IDs begin with", decisionPrefix),
        ]
            + listening.map { ("listens: \($0.listener)", "\($0.address) as \($0.identity)") }
            + (counters ?? [:]).sorted { $0.key < $1.key }.map { ($0.key, Self.number($0.value)) }
    }

    /// A count without the decimal point that it does not need.
    private static func number(_ value: Double) -> String {
        Int64(exactly: value).map(String.init) ?? String(value)
    }

    /// Base32 (RFC 4648 section 6) in small letters, as decision IDs have it; whole groups of five
    /// bytes only, and nothing of another length.
    private static func base32(_ bytes: Data) -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567")
        guard bytes.count == 5 else { return "" }
        let bits = bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return String((0..<8).map { alphabet[Int(bits >> UInt64(35 - 5 * $0) & 31)] })
    }
}
