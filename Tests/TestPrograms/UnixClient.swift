// SPDX-License-Identifier: Apache-2.0

package import NIOCore
internal import NIOPosix

/// A client of a Unix socket that speaks in bytes.
package enum UnixClient {
    package typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

    package static func connect(to path: String) async throws -> Connection {
        try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(to: SocketAddress(unixDomainSocketPath: path)) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try Connection(wrappingChannelSynchronously: channel)
                }
            }
    }

    /// Sends a request and returns all that comes back until the other side closes.
    package static func answer(to request: String, at path: String) async throws -> String {
        try await connect(to: path).executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: request))
            var answer = ""
            for try await part in inbound { answer += String(buffer: part) }
            return answer
        }
    }
}
