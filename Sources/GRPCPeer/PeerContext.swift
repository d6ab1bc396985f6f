// SPDX-License-Identifier: Apache-2.0

package import GRPCCore
package import SPIFFE

/// Who is at the other end of the connection that carries a request.
///
/// A value of this type comes only from a `PeerServerTransport`, through its `PeerInterceptor`;
/// nothing a caller sends can set it.
package enum PeerContext: Sendable {
    /// A process on this machine, as the kernel reported it.
    case local(LocalPeer)
    /// A peer on the network at `address` (`ip:port`), with the certificate it proved, or `nil`
    /// for a peer that showed none.
    case remote(address: String, VerifiedPeer?)
}

/// Where a request comes from.
struct RequestOrigin: ServerContext.TransportSpecific, Sendable {
    let peer: PeerContext
    let stream: RequestStream
}

extension ServerContext {
    /// The peer of this request.
    ///
    /// - Throws: `RPCError` (internal) when the server was built without a `PeerInterceptor`.
    package var peer: PeerContext {
        get throws(RPCError) {
            guard let origin = transportSpecific as? RequestOrigin else {
                throw RPCError(code: .internalError, message: "the peer of this request is unknown")
            }
            return origin.peer
        }
    }

    /// The stream of this request; nil when the server was built without a `PeerInterceptor`.
    package var stream: RequestStream? { (transportSpecific as? RequestOrigin)?.stream }
}
