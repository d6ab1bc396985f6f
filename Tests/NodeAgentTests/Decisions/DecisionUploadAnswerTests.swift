// SPDX-License-Identifier: Apache-2.0

import ControlAPI
import ControlAPIProtos
import GRPCCore
import NodeAgent
import SwiftProtobuf
import Testing

/// What becomes of a segment that was sent.
struct DecisionUploadAnswerTests {
    private func refusal(
        _ code: String,
        retryable: Bool,
        wait: UInt32 = 0
    ) -> DecisionUploadAnswer {
        DecisionUploadAnswer(
            .with {
                $0.refusal = .with {
                    $0.code = code
                    $0.retryable = retryable
                    $0.retryAfterMilliseconds = wait
                }
            }
        )
    }

    @Test func `only the server's word about a segment ends it`() {
        #expect(DecisionUploadAnswer(.with { $0.stored = .init() }) == .stored)
        #expect(refusal("segmentDiffers", retryable: false).label == "refused")
        #expect(
            refusal("decisionRate", retryable: true, wait: 1_500)
                == .later(.seconds(1.5), reason: "decisionRate")
        )
        #expect(DecisionUploadAnswer(.init()).label == "later")
        #expect(
            DecisionUploadAnswer(RPCError(code: .invalidArgument, message: "")).label == "later"
        )
        #expect(
            DecisionUploadAnswer(RPCError(code: .permissionDenied, message: "")).label == "later"
        )
        #expect(DecisionUploadAnswer(CancellationError()).label == "later")
    }

    @Test func `a server of the release before does not know the call`() {
        let answer = DecisionUploadAnswer(RPCError(code: .unimplemented, message: ""))
        #expect(answer == .callUnknown)
    }
}
