// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix

/// What a stranger is answered on the socket of the public endpoint.
func publicAnswer(_ path: String, at socket: String) async throws -> String {
    let address = try SocketAddress(unixDomainSocketPath: socket)
    let connection = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connect(to: address) { channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
    return try await connection.executeThenClose { inbound, outbound in
        let request = "GET \(path) HTTP/1.1\r\nHost: any\r\n\r\n"
        try await outbound.write(ByteBuffer(string: request))
        var answer = ""
        for try await part in inbound { answer += String(buffer: part) }
        return answer
    }
}
