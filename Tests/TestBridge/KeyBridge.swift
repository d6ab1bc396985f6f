// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Crypto
package import FoundationEssentials
package import GRPCCore
internal import Synchronization

/// The reference of a key service (docs/key-service.md), over keys in memory: what a bridge to a
/// vault or a module does, as one has to do it who has read no line of the server.
///
/// For tests alone: it is in no product, and it lies, stalls and refuses when it is told to.
package final class KeyBridge: Sendable {
    /// How it fails.
    package enum Fault: Sendable, Hashable {
        /// It does what it should.
        case none
        /// Answers have more bytes than anybody reads.
        case answersTooMuch
        case destroysNothing
        /// It gives a key that it has already.
        case givesKeyAgain
        /// It gives the public half of a key that it does not have.
        case givesKeyOfOthers
        /// It gives a P-384 key, whatever was asked for.
        case givesOtherType
        /// Calls wait until the fault ends, or the caller does not.
        case holds
        case leavesOneOut
        /// It names P-256 keys with a compressed point, in lists and by the SHA-256 of that.
        case listsOtherForm
        /// Lists lack the key of this name.
        case omits(Data)
        case refuses(RPCError.Code)
        case signsOtherBytes
        case signsOneTooMany
        case signsWithOtherKey
        /// Each signature is right, and in another's place.
        case swaps
    }

    struct State {
        var keys: [String: [Data: BridgeKey]] = [:]
        var fault = Fault.none
        var held: [AsyncStream<Void>.Continuation] = []
        var heldCount = 0
        var signed: [Int] = []
        var calls = 0
    }

    let state = Mutex(State())

    package init() {}

    /// Fails so from the next call on; calls that were held go on.
    package func fail(_ fault: Fault) {
        state.withLock { $0.fault = fault }
        letGo()
    }

    /// How many keys an owner has.
    package func count(of owner: String) -> Int { state.withLock { $0.keys[owner]?.count ?? 0 } }

    /// The owners that have keys.
    package var owners: Set<String> {
        state.withLock { Set($0.keys.filter { !$0.value.isEmpty }.keys) }
    }

    /// How many messages each call to sign had, in the order of the calls.
    package var signed: [Int] { state.withLock { $0.signed } }

    /// Calls of all kinds.
    package var calls: Int { state.withLock { $0.calls } }

    /// Calls that were held so far.
    package var heldCount: Int { state.withLock { $0.heldCount } }

    /// Has so many keys of an owner more.
    package func add(_ count: Int, of owner: String) {
        let made = (0..<count).map { _ in BridgeKey.p256(P256.Signing.PrivateKey()) }
        state.withLock { state in
            for key in made { state.keys[owner, default: [:]][key.name] = key }
        }
    }

    /// The names of an owner's keys.
    package func names(of owner: String) -> Set<Data> {
        state.withLock { Set($0.keys[owner, default: [:]].keys) }
    }

    /// Loses the keys of an owner but some, as a service does that was set back to its own backup.
    package func setBack(_ owner: String, to names: Set<Data>) {
        state.withLock { state in
            state.keys[owner] = state.keys[owner]?.filter { names.contains($0.key) }
        }
    }

    /// Loses all keys of an owner, as a service does that was set up anew.
    package func lose(_ owner: String) { state.withLock { $0.keys[owner] = nil } }

    /// Answers at a Unix socket while `body` runs; a file that is there is replaced.
    package func serving<Value: Sendable>(
        at path: String,
        _ body: () async throws -> Value
    ) async throws -> Value {
        try await TestBridge.serving(
            [KeyBridgeService(bridge: self)],
            at: path,
            ending: { letGo() },
            body
        )
    }

    private func letGo() {
        let held = state.withLock { state in
            defer { state.held = [] }
            return state.held
        }
        for call in held { call.finish() }
    }
}
