// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import GRPCCore
import Testing

/// Refusals on the way over gRPC.
@Suite struct APIErrorTests {
    @Test(arguments: [nil, Duration.milliseconds(1), .seconds(5), .seconds(30 * 86_400)])
    func `a refusal comes back as it was, with the time after which to try again`(
        wait: Duration?
    ) {
        for kind in APIError.Kind.allCases {
            let error = APIError(kind, "someRule", "what to do", retryAfter: wait)
            #expect(APIError(RPCError(error)) == error)
        }
    }

    @Test func `a time that nothing of ours wrote is passed over`() {
        for text in ["", "-1", "1e3", "4294967296", " 5"] {
            var metadata: Metadata = [APIError.reasonKey: "someRule"]
            metadata.addString(text, forKey: APIError.retryAfterKey)
            let error = RPCError(code: .unavailable, message: "m", metadata: metadata)
            #expect(APIError(error) == APIError(.unavailable, "someRule", "m"), "\(text)")
        }
    }
}
