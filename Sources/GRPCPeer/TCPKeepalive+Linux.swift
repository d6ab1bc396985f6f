// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import NIOCore

/// Signs of life that the kernels exchange: a peer whose machine or network is gone is noticed
/// without waking either process, which thousands of idle agents would do all day.
enum TCPKeepalive {
    /// Silence after which the kernel asks the other one (RFC 9293 section 3.8.4).
    static let idleSeconds: Int = 15
    /// Pause between two questions.
    static let intervalSeconds: Int = 5
    /// Unanswered questions that end the connection: with the times above after 30 s.
    static let probesMax: Int = 3
    /// How long sent data may stay unconfirmed (RFC 5482): as long as silence may last.
    static let userTimeoutMilliseconds: Int = 30_000

    /// Sets the options on a TCP socket of this channel.
    static func enable(on channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        let values: [(ChannelOptions.Types.SocketOption, Int)] = [
            (.socketOption(.so_keepalive), 1),
            (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_KEEPIDLE)), idleSeconds),
            (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_KEEPINTVL)), intervalSeconds),
            (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_KEEPCNT)), probesMax),
            (.tcpOption(NIOBSDSocket.Option(rawValue: TCP_USER_TIMEOUT)), userTimeoutMilliseconds),
        ]
        for (option, value) in values { try options.setOption(option, value: value) }
    }
}
