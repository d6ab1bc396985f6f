// SPDX-License-Identifier: Apache-2.0

/// How long, how many and how much: what one client or server can cost the others.
///
/// Every value has a default that is safe on an open network. Times are in milliseconds; they are
/// noticed up to `Loop.noticeMilliseconds` late.
package struct ProxyLimits: Hashable, Sendable {
    /// Connections of one worker, both sides counted: a quarter of a gigabyte at 20 KB each, and
    /// 3 GB if every peer holds the 256 KB that one may leave unread.
    package static let connectionsMax = 12_000
    /// TLS handshakes begun, and steps of clients' handshakes, in one turn of a loop: 4 take about
    /// 1 ms, so that those who are connected already do not wait longer.
    package static let handshakesPerTurnMax = 4
    /// Failed handshakes of clients that one worker tells the access log of in a second; anybody on
    /// the network can make them, so the rest is only counted.
    package static let handshakeRecordsMax = 10
    /// Idle connections kept for one target by one worker.
    package static let poolMax = 128
    /// Requests of one connection, so that its memory and its peer are looked at again some day.
    package static let requestsPerConnectionMax: UInt64 = 100_000
    /// Attempts to reach a server for one request.
    package static let attemptsMax = 3
    /// Bytes kept of what a server was sent that has said nothing yet, so that another one can have
    /// them if this one does not believe us: a TLS record, for most requests are less.
    package static let replayMax = 16_384
    /// Of what a worker allows one in so many is recorded for the decision log: at 100,000 a second
    /// these are 100, and where hours pass between two of them the counts say enough.
    package static let decisionsPerSample: UInt64 = 1_000
    /// How long an idle client may stay, in milliseconds, when the proxy ends: whose next request is
    /// under way already gets its answer, with the word that it is the last.
    package static let drainIdle: UInt64 = 1_000

    /// Clients of one worker that have not shown who they are: a quarter of its connections, so that
    /// they cannot take the place of those who have; one more ends the one that came first.
    package var strangers = 3_000
    /// From the connection to the end of the TLS handshake, in milliseconds like all that follow.
    package var handshake: UInt64 = 10_000
    /// From the first byte of a head to its last: against heads that come a byte at a time.
    package var head: UInt64 = 10_000
    /// Without a byte of a request's body coming in, or of an answer being taken.
    package var stall: UInt64 = 30_000
    /// Bytes in a second, not milliseconds, that a request's body has to come with on average.
    ///
    /// `stall` is given in advance, and once its answer has begun a request may take its time. Slower
    /// than any modem, and faster than who only wants to hold a place.
    package var bodyBytesPerSecond: UInt64 = 100
    /// From the last byte of a request to the first of its answer.
    package var answer: UInt64 = 60_000
    /// Between two requests of a client.
    package var idle: UInt64 = 60_000
    /// Between two requests to a server; less than what servers usually grant.
    package var poolIdle: UInt64 = 30_000
    /// Until a server's TCP connection stands.
    package var connect: UInt64 = 5_000
    /// A TCP stream without a byte in either direction.
    package var streamIdle: UInt64 = 3_600_000
    /// The age at which a connection gets no further request.
    package var connectionAge: UInt64 = 3_600_000
    /// The same of a connection to a server by a tainted authority: the next one may show what has
    /// replaced its certificate, so that nothing is under way when the authority is revoked.
    package var taintedAge: UInt64 = 10_000
    /// How long a refused client may go on sending before its connection is reset.
    package var linger: UInt64 = 2_000
    /// How long requests and streams may take to finish when the proxy ends.
    package var drain: UInt64 = 30_000

    package init() {}
}
