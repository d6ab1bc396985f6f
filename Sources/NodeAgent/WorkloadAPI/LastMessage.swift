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

    /// The digest of a message and of the lists that go with it, for `replace`; nil if they say
    /// what the last one said.
    func news(in message: Message, lists: [ShownRevocationList] = []) -> [UInt8]? {
        var options = BinaryEncodingOptions()
        options.useDeterministicOrdering = true
        // What cannot be digested is told.
        guard let bytes: [UInt8] = try? message.serializedBytes(options: options) else { return [] }
        var hash = SHA256()
        hash.update(data: bytes)
        // An authority gives a number to one list only. Key identifiers have one length.
        for list in lists { hash.update(data: list.authorityKeyID + list.number) }
        let digest = Array(hash.finalize())
        return last.withLock { $0 == digest } ? nil : digest
    }

    /// Notes what is sent.
    func replace(by digest: [UInt8]) {
        last.withLock { $0 = digest }
    }
}
