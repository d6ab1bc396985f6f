// SPDX-License-Identifier: Apache-2.0

internal import Crypto
internal import FoundationEssentials
internal import NodeSync
internal import SwiftProtobuf
internal import Synchronization

/// What a stream of the Workload API has sent last: a view may change in what a profile does not
/// show, and nothing is said twice.
///
/// Only its digest is kept: a stream that waits costs little, and holds no key.
final class LastMessage<Message: SwiftProtobuf.Message>: Sendable {
    private let last = Mutex<[UInt8]?>(nil)

    /// Notes a message and the lists that go with it; whether it is to be sent, because it says
    /// something else than the last.
    func replace(by message: Message, lists: [ShownRevocationList] = []) -> Bool {
        var options = BinaryEncodingOptions()
        options.useDeterministicOrdering = true
        guard let bytes: [UInt8] = try? message.serializedBytes(options: options) else {
            return true
        }
        var hash = SHA256()
        hash.update(data: bytes)
        // An authority gives a number to one list only. Key identifiers have one length.
        for list in lists { hash.update(data: list.authorityKeyID + list.number) }
        let digest = Array(hash.finalize())
        return last.withLock { last in
            guard last != digest else { return false }
            last = digest
            return true
        }
    }
}
