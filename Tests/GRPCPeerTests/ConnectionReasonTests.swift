// SPDX-License-Identifier: Apache-2.0

import Foundation
import GRPCPeer
import NIOCore
import Testing

struct ConnectionReasonTests {
    @Test(arguments: [ECONNREFUSED, ENETUNREACH])
    func `why there is no connection is said in the system's words`(number: Int32) {
        let error = IOError(errnoCode: number, reason: "connection reset (error set)")
        let text = ConnectionReason.text(of: error)
        #expect(text == (number == ECONNREFUSED ? "Connection refused" : "Network is unreachable"))
    }

    @Test func `what the system did not say is left to its own words`() {
        #expect(ConnectionReason.text(of: CancellationError()) == nil)
    }
}
