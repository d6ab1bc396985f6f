// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import Foundation
import HTTPSemantics
import NodeAgent
import SwiftProtobuf

/// What a proxy tells of its decisions.
enum DecisionSamples {
    static let instance: [UInt8] = [1, 2, 3, 4, 5]
    static let identity = "spiffe://example.org/db"

    static func decision(
        _ count: Int,
        allowed: Bool = false
    ) -> Signet_Node_V1alpha1_DecisionExplanation {
        .with {
            $0.id =
                DecisionID(
                    instance: 0x01_0203_0405,
                    revision: 4,
                    worker: 0,
                    count: UInt64(count)
                )
                .description
            $0.timeUnixMilliseconds = 1_700_000_000_000
            $0.allowed = allowed
            $0.rule = -1
            $0.reason = allowed ? "allowed" : "noMatch"
            $0.listener = "in"
            $0.identity = identity
            $0.peer = "spiffe://example.org/web"
            $0.peerAddress = "192.0.2.1"
            $0.port = 80
            $0.method = "GET"
            $0.path = "/rows"
            $0.revision = .with { $0.epoch = Data(repeating: 1, count: 16) }
        }
    }

    static func count(_ number: UInt64 = 3) -> Signet_Proxy_V1alpha1_DecisionCount {
        .with {
            $0.listener = "in"
            $0.identity = identity
            $0.peer = "spiffe://example.org/web"
            $0.allowed = true
            $0.rule = -1
            $0.count = number
        }
    }

    static func denials(_ range: Range<Int>) -> Signet_Proxy_V1alpha1_TrafficRecords {
        .with { $0.denials = range.map { decision($0) } }
    }

    static func judged(
        _ message: Signet_Proxy_V1alpha1_TrafficRecords,
        by intake: inout DecisionIntake,
        boot: Duration = .seconds(5)
    ) -> DecisionIntake.Judged {
        intake.judge(
            message,
            proxy: "shop/db",
            instance: instance,
            identities: [identity],
            wall: 1_700_000_000_500,
            boot: boot
        )
    }

    static func judged(_ message: Signet_Proxy_V1alpha1_TrafficRecords) -> DecisionIntake.Judged {
        var intake = DecisionIntake()
        return judged(message, by: &intake)
    }
}
