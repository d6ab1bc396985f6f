// SPDX-License-Identifier: Apache-2.0

internal import ControlAPIProtos
internal import Crypto
internal import FoundationEssentials
internal import GRPCCore
internal import SwiftProtobuf
internal import Synchronization

/// The four calls, and what is refused in them.
struct KeyBridgeService: Signet_Keyservice_V1alpha1_KeyService.SimpleServiceProtocol {
    typealias GenerateResponse = Signet_Keyservice_V1alpha1_GenerateResponse
    typealias ListResponse = Signet_Keyservice_V1alpha1_ListResponse
    typealias SignResponse = Signet_Keyservice_V1alpha1_SignResponse

    /// docs/key-service.md, "Sign".
    static let messagesMax = 25

    let bridge: KeyBridge

    func generate(
        request: Signet_Keyservice_V1alpha1_GenerateRequest,
        context: ServerContext
    ) async throws -> GenerateResponse {
        let fault = try await begin(request.owner)
        if fault == .givesKeyAgain, let key = bridge.key(of: request.owner) {
            return .with { $0.key.spki = key.spki }
        }
        let type = fault == .givesOtherType ? .ecP384 : request.keyType
        guard let key = try BridgeKey(type) else {
            throw RPCError(code: .unimplemented, message: "no keys of type \(request.keyType)")
        }
        // It is kept before anybody knows of it.
        if fault != .givesKeyOfOthers { bridge.keep(key, of: request.owner) }
        return .with { $0.key.spki = key.spki }
    }

    func list(
        request: Signet_Keyservice_V1alpha1_ListRequest,
        context: ServerContext
    ) async throws -> ListResponse {
        let fault = try await begin(request.owner)
        if fault == .answersTooMuch {
            return .with { $0.keys = [.with { $0.spki = Self.tooMuch }] }
        }
        var keys = bridge.state.withLock { $0.keys[request.owner] ?? [:] }
        if case .omits(let name) = fault { keys[name] = nil }
        let isOther = fault == .listsOtherForm
        return .with { answer in
            answer.keys = keys.values.map { key in
                .with { $0.spki = isOther ? key.otherSPKI : key.spki }
            }
        }
    }

    func sign(
        request: Signet_Keyservice_V1alpha1_SignRequest,
        context: ServerContext
    ) async throws -> SignResponse {
        let fault = try await begin(request.key.owner)
        guard let key = bridge.key(request.key) else { throw Self.noKey }
        guard request.algorithm == key.algorithm else {
            throw RPCError(code: .invalidArgument, message: "the algorithm is not the key's")
        }
        guard (1...Self.messagesMax).contains(request.messages.count) else {
            throw RPCError(code: .invalidArgument, message: "1 to \(Self.messagesMax) messages")
        }
        bridge.state.withLock { $0.signed.append(request.messages.count) }
        var signatures: [Data]
        switch fault {
        case .signsOtherBytes:
            signatures = try request.messages.map { try key.signature(for: $0 + [0]) }
        case .signsWithOtherKey:
            guard let other = try BridgeKey(key.type) else { throw Self.noKey }
            signatures = try request.messages.map { try other.signature(for: $0) }
        default: signatures = try request.messages.map { try key.signature(for: $0) }
        }
        switch fault {
        case .answersTooMuch: signatures = [Self.tooMuch]
        case .leavesOneOut: signatures.removeLast()
        case .signsOneTooMany: signatures.append(try key.signature(for: request.messages[0]))
        case .swaps: signatures.reverse()
        default: break
        }
        return .with { $0.signatures = signatures }
    }

    func destroy(
        request: Signet_Keyservice_V1alpha1_DestroyRequest,
        context: ServerContext
    ) async throws -> Signet_Keyservice_V1alpha1_DestroyResponse {
        let fault = try await begin(request.key.owner)
        guard fault != .destroysNothing else {
            throw RPCError(code: .permissionDenied, message: "keys are not to be destroyed here")
        }
        let (owner, hash) = (request.key.owner, request.key.spkiSha256)
        let old = bridge.state.withLock { state in
            let name = state.keys[owner]?.first { name, key in
                fault == .listsOtherForm
                    ? Data(SHA256.hash(data: key.otherSPKI)) == hash : name == hash
            }?.key
            return name.flatMap { state.keys[owner]?.removeValue(forKey: $0) }
        }
        guard old != nil else { throw Self.noKey }
        return .init()
    }

    private static let noKey = RPCError(code: .notFound, message: "there is no such key")
    /// More than the 4 MiB that are read.
    private static let tooMuch = Data(repeating: 7, count: 5 << 20)

    /// What every call begins with.
    ///
    /// - Returns: How the call is to fail.
    private func begin(_ owner: String) async throws -> KeyBridge.Fault {
        let fault = try await bridge.passed()
        let isName = owner.utf8.allSatisfy {
            (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D
        }
        guard isName, (1...64).contains(owner.utf8.count) else {
            throw RPCError(code: .invalidArgument, message: "the owner has no name that is allowed")
        }
        if case .refuses(let code) = fault {
            throw RPCError(code: code, message: "told\u{1B}[2J\u{9B} to\n\u{2028}\u{202E}refuse")
        }
        return fault
    }
}

extension BridgeKey {
    fileprivate var type: Signet_Keyservice_V1alpha1_KeyType {
        switch self {
        case .p256: .ecP256
        case .p384: .ecP384
        case .rsa: .rsa2048
        }
    }
}

extension KeyBridge {
    /// Counts a call, and holds it if that is the fault.
    fileprivate func passed() async throws -> Fault {
        let (gate, opened) = AsyncStream.makeStream(of: Void.self)
        let fault = state.withLock { state in
            state.calls += 1
            if state.fault == .holds {
                state.held.append(opened)
                state.heldCount += 1
            } else {
                opened.finish()
            }
            return state.fault
        }
        for await _ in gate {}
        try Task.checkCancellation()
        return fault
    }

    fileprivate func keep(_ key: BridgeKey, of owner: String) {
        state.withLock { $0.keys[owner, default: [:]][key.name] = key }
    }

    fileprivate func key(_ name: Signet_Keyservice_V1alpha1_KeyName) -> BridgeKey? {
        state.withLock { $0.keys[name.owner]?[name.spkiSha256] }
    }

    /// Any key that an owner has.
    fileprivate func key(of owner: String) -> BridgeKey? {
        state.withLock { $0.keys[owner]?.values.first }
    }
}
