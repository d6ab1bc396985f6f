// SPDX-License-Identifier: Apache-2.0

/// What stands for one stored segment in the tree whose root the audit log holds.
package enum SegmentLeaf {
    /// Most segments under one leaf of the audit log, of which there is one a minute: ten thousand
    /// agents send as many in 100 s.
    package static let segmentsMax = 100_000
    private static let prefix = Array("signet-decision-segment-v1\n".utf8)

    /// The bytes that are hashed as a leaf (RFC 6962 section 2.1).
    ///
    /// Everything before the agent has a fixed length, so that no two segments have the same bytes.
    ///
    /// - Parameters:
    ///   - agent: SPIFFE ID of the agent, as the server knows it.
    ///   - spool: 16 bytes.
    ///   - number: The segment's number in it.
    ///   - digest: The segment's own digest.
    /// - Returns: The bytes.
    package static func bytes(
        agent: String,
        spool: [UInt8],
        number: UInt64,
        digest: [UInt8]
    ) -> [UInt8] {
        var bytes = prefix + spool
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift)))
        }
        return bytes + digest + Array(agent.utf8)
    }
}
