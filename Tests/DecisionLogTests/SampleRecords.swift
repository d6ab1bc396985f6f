// SPDX-License-Identifier: Apache-2.0

import ControlAPIProtos
import DecisionLog
import Foundation
import HTTPSemantics
import SwiftProtobuf

/// Records as an agent makes them.
enum SampleRecords {
    static let instance: [UInt8] = [1, 2, 3, 4, 5]
    static let header = DecisionSegment.Header(
        spool: Array(repeating: 9, count: DecisionSegment.spoolBytes),
        number: 3,
        madeAtUnixMilliseconds: 1_700_000_000_000,
        lost: 7
    )

    static func decision(_ count: UInt64) -> Signet_Node_V1alpha1_DecisionExplanation {
        .with {
            $0.id =
                DecisionID(instance: 0x01_0203_0405, revision: 4, worker: 0, count: count)
                .description
            $0.timeUnixMilliseconds = 1_700_000_000_000
            $0.rule = -1
            $0.reason = "noMatch"
            $0.listener = "in"
            $0.identity = "spiffe://example.org/db"
            $0.peer = "spiffe://example.org/web"
            $0.peerAddress = "192.0.2.1"
            $0.port = 80
            $0.method = "GET"
            $0.path = "/rows"
            $0.revision = .with {
                $0.epoch = Data(repeating: 1, count: 16)
                $0.number = 4
            }
        }
    }

    static func record(
        _ change: (inout Signet_Decisions_V1alpha1_SegmentRecord) -> Void = { _ in }
    ) -> Signet_Decisions_V1alpha1_SegmentRecord {
        .with {
            $0.proxy = "shop/web"
            $0.instance = Data(instance)
            $0.heardAtUnixMilliseconds = 1_700_000_000_001
            $0.decision = decision(1)
            change(&$0)
        }
    }

    static var counts: Signet_Decisions_V1alpha1_SegmentRecord {
        record {
            $0.counts = .with {
                $0.counts = [
                    .with {
                        $0.listener = "in"
                        $0.identity = "spiffe://example.org/db"
                        $0.allowed = true
                        $0.policyNamespace = "shop"
                        $0.policy = "p"
                        $0.rule = 0
                        $0.count = 12
                    }
                ]
            }
        }
    }

    /// A segment of two records.
    static var segment: [UInt8] {
        DecisionSegment.encoded(
            header,
            records: [record(), counts].compactMap { DecisionSegment.encoded($0) }
        )
    }
}
