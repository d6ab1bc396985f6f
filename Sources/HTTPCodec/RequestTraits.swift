// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// What the reading of an answer has to know of its request; the head is gone by then.
package struct RequestTraits: Hashable, Sendable {
    package var method: HTTPMethod
    package var framing: BodyFraming
    /// Whether the client wants to send more on its connection.
    package var isKeptAlive: Bool
    /// Whether the client reads HTTP/1.0: no chunks and no words before the answer.
    package var isVersion10: Bool
    package var wantsWebSocket: Bool
    /// Whether the server may leave the body unread (`RequestHead.hasUnexpectedBody`).
    package var hasUnexpectedBody: Bool

    package init(_ head: borrowing RequestHead) {
        method = head.request.method
        framing = head.framing
        isKeptAlive = head.isKeptAlive
        isVersion10 = head.isVersion10
        wantsWebSocket = head.wantsWebSocket
        hasUnexpectedBody = head.hasUnexpectedBody
    }

    /// Stands for a request of which nothing is known: its answer ends the connection.
    package static let unknown = Self()

    private init() {
        (method, framing, isKeptAlive, isVersion10) = (.other, .none, false, false)
        (wantsWebSocket, hasUnexpectedBody) = (false, false)
    }
}
