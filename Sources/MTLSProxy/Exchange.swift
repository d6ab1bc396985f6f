// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import HTTPSemantics
internal import Reactor

/// What is remembered of the request at hand, on the client's connection.
struct Exchange: ~Copyable {
    /// The method, the path, and of what was let through the host and perhaps the fields, in case
    /// that they are judged again.
    var line = Buffer()
    var methodBytes = 0
    var pathBytes = 0
    /// In `line`; empty if the host is not remembered.
    var authority = Exchange.unknownHost
    /// In `line`.
    var fields: [HeaderField] = []
    /// Whether fields are remembered: those that policies asked for when the request began.
    var knowsFields = false
    /// Which those are, in small letters.
    var fieldNames: Set<String> = []
    var method = HTTPMethod.other
    var decision: Decision?
    var decisionNumber: UInt64 = 0
    var revision: UInt64 = 0
    /// Milliseconds since boot.
    var started: UInt64 = 0
    var status = 0
    /// Whether there is a request that is not answered.
    var isActive = false
    /// Whether a byte of the answer was sent.
    var hasAnswer = false
    var attempts = 0
    /// Among its listener's `serverIDs`: who was asked; 0 if that is not known.
    var server = 0
    /// Whether the beginning of a stream is counted.
    var isBegun = false
    var bytesIn: UInt64 = 0
    var bytesOut: UInt64 = 0
    /// What the last requests have in common, and their sum.
    var lastStatus = 0
    var lastReason = ProxyReason.none
    var lastDecision: Decision?
    var lastRevision: UInt64 = 0
    var lastServer = 0
    var sum = RequestSum()
    /// Bytes of the requests that are through.
    var earlierIn: UInt64 = 0
    var earlierOut: UInt64 = 0

    private static let unknownHost = Authority(host: .empty, port: nil)

    /// Nothing is remembered of a host or fields.
    mutating func forgetFields() {
        authority = Self.unknownHost
        fields.removeAll(keepingCapacity: true)
        knowsFields = false
        fieldNames = []
    }

    /// A request, or what should have been one, begins: nothing of the one before it stays.
    mutating func begin(now: UInt64) {
        started = now
        isActive = true
        hasAnswer = false
        status = 0
        server = 0
        decision = nil
        (bytesIn, bytesOut) = (0, 0)
    }

    /// Bytes of all requests of the connection.
    var bytesInOverall: UInt64 { earlierIn &+ (isActive ? bytesIn : 0) }
    var bytesOutOverall: UInt64 { earlierOut &+ (isActive ? bytesOut : 0) }
}
