// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
internal import NIOCore

/// Whose processes a client of a Unix socket may find there.
package struct SocketOwners: Hashable, Sendable {
    package let uids: Set<UInt32>

    /// Root, the user of this process, and others that somebody named.
    package init(besides uids: Set<UInt32> = []) {
        self.uids = uids.union([0, geteuid()])
    }

    /// Exactly these.
    package init(only uids: Set<UInt32>) {
        self.uids = uids
    }
}

/// Who listens at a Unix socket is none of those it was made for.
package enum SocketOwnerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Another user's process listens there.
    case otherUser(uid: UInt32)
    /// The kernel does not say whose.
    case unknown(errno: Int32)

    package var description: String {
        switch self {
        case .otherUser(let uid): "user \(uid) listens there, who is not one that may"
        case .unknown(let errno): "the kernel does not say who listens there (errno \(errno))"
        }
    }
}

/// Ends a client's connection before a byte is sent, unless one of some users listens.
///
/// The kernel tells whose process has begun to listen: a file's owner, or who may write the
/// directory, says nothing about a connection that is open.
final class SocketOwnerHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let owners: SocketOwners
    private let onRefusal: @Sendable (SocketOwnerError) -> Void

    init(owners: SocketOwners, onRefusal: @escaping @Sendable (SocketOwnerError) -> Void) {
        self.owners = owners
        self.onRefusal = onRefusal
    }

    /// Runs in the channel initializer, before the connection is made.
    static func add(
        to channel: any Channel,
        owners: SocketOwners,
        onRefusal: @escaping @Sendable (SocketOwnerError) -> Void
    ) -> EventLoopFuture<Void> {
        channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(
                SocketOwnerHandler(owners: owners, onRefusal: onRefusal),
                position: .first
            )
        }
    }

    func channelActive(context: ChannelHandlerContext) {
        let answer = try? context.channel.pipeline.syncOperations.withUnsafeTransportIfAvailable {
            (socket: NIOBSDSocket.Handle) in
            clinux_peer_uid(socket)
        }
        guard let uid = answer.flatMap({ UInt32(exactly: $0) }) else {
            onRefusal(.unknown(errno: Int32(truncatingIfNeeded: -(answer ?? Int64(-ENOTCONN)))))
            context.close(promise: nil)
            return
        }
        guard owners.uids.contains(uid) else {
            onRefusal(.otherUser(uid: uid))
            context.close(promise: nil)
            return
        }
        context.fireChannelActive()
    }
}
