// SPDX-License-Identifier: Apache-2.0

package import Clocks
internal import ControlAPIProtos
internal import FoundationEssentials
internal import GRPCCore
package import GRPCPeer
internal import Issuance
internal import SPIFFE

/// An authority's key in a key service: it signs there and never leaves it.
struct KeyServiceSigner: Signer {
    /// Most messages in one call, which has `KeyServiceTimes.batch`: what a backend that makes 20
    /// signatures in a second signs in that time, with as many calls at once as there may be.
    static let messagesMax = 25
    /// Most bytes of messages in one call, unless one alone has more: below the 4 MiB that gRPC
    /// servers take if nobody told them otherwise.
    static let messagesBytesMax = 3 << 20

    let key: AuthorityPublicKey
    private let owner: String
    private let link: KeyServiceLink

    fileprivate init(_ key: AuthorityPublicKey, owner: String, link: KeyServiceLink) {
        self.key = key
        self.owner = owner
        self.link = link
    }

    var subjectPublicKeyInfo: [UInt8] { key.subjectPublicKeyInfo }
    var signatureAlgorithm: SignatureAlgorithm { key.signatureAlgorithm }

    func signature(for bytes: [UInt8]) throws(SignerError) -> [UInt8] {
        guard let signature = try signatures(for: [bytes]).first else {
            throw .unavailable(reason: "nothing was signed")
        }
        return signature
    }

    /// Signs in parts, each of which has its time, and verifies every signature: who made it, and over
    /// what, is another process's word until then.
    func signatures(for messages: [[UInt8]]) throws(SignerError) -> [[UInt8]] {
        var signatures: [[UInt8]] = []
        signatures.reserveCapacity(messages.count)
        var rest = messages[...]
        while !rest.isEmpty {
            let part = Self.part(of: rest)
            rest = rest.dropFirst(part.count)
            do throws(KeyServiceError) {
                signatures += try sign(Array(part))
            } catch {
                throw .unavailable(reason: error.description)
            }
        }
        return signatures
    }

    /// The first messages that go into one call; at least one.
    static func part(of messages: ArraySlice<[UInt8]>) -> ArraySlice<[UInt8]> {
        var bytes = 0
        var count = 0
        for message in messages.prefix(messagesMax) {
            bytes += message.count
            guard count == 0 || bytes <= messagesBytesMax else { break }
            count += 1
        }
        return messages.prefix(count)
    }

    fileprivate func sign(_ messages: [[UInt8]]) throws(KeyServiceError) -> [[UInt8]] {
        let key = key
        var request = Signet_Keyservice_V1alpha1_SignRequest()
        request.key = KeyServiceKeys.name(of: key.spkiSHA256, owner: owner)
        request.algorithm = key.signatureAlgorithm.inKeyService
        request.messages = messages.map { Data($0) }
        let keyID = Hexadecimal.text(key.spkiSHA256)
        return try link.call(.sign, isBatch: messages.count > 1) {
            [request] (service, options) async throws -> Answer? in
            do {
                return try await service.sign(request, options: options)
            } catch let error as RPCError where error.code == .notFound {
                return nil
            }
        } reading: { (answer: Answer?) throws(KeyServiceError) in
            guard let answer else { throw .keyMissing(owner: owner, keyID: keyID) }
            guard answer.signatures.count == messages.count else {
                throw .answerMalformed(
                    call: .sign,
                    reason: "\(answer.signatures.count) signatures for \(messages.count) messages"
                )
            }
            var signatures: [[UInt8]] = []
            signatures.reserveCapacity(messages.count)
            for (message, signature) in zip(messages, answer.signatures) {
                guard let signature = key.verified(Array(signature), of: message) else {
                    throw .signatureInvalid(keyID: keyID)
                }
                signatures.append(signature)
            }
            return signatures
        }
    }

    private typealias Answer = Signet_Keyservice_V1alpha1_SignResponse
}

/// The keys of one server's authorities in a key service, by their public halves.
package struct KeyServiceKeys: Sendable {
    /// Most keys of one owner: two for each authority of some years, if none were ever destroyed.
    static let keysMax = 4096
    /// Most keys with which another one is made: far below what can be listed, since only a list tells
    /// which keys there are to destroy.
    static let keysMadeMax = 1024
    /// Most keys that one sweep destroys: the rotation waits for it, and another one follows in a
    /// minute.
    static let destroyedMax = 32
    /// Longest time after which a sweep destroys no further key: what admins order waits as long.
    static let sweepDurationMax: Duration = .seconds(10)
    /// What a new key signs, so that the service is seen to hold it: no certificate, and nothing
    /// that could be read as one.
    static let proof = Array("signet: is this key here, and new?".utf8)

    private let owner: String
    private let clock: any NodeClock
    private let link: KeyServiceLink

    /// The keys of a server in a service; nothing is opened yet.
    ///
    /// - Parameters:
    ///   - socket: Where the service listens.
    ///   - owners: Whose process it may be.
    ///   - serverID: Whose keys they are.
    ///   - times: How long the service may take.
    ///   - clock: By which calls are measured.
    ///   - report: What became of each call; called on the thread that waited for it.
    package init(
        socket: String,
        owners: SocketOwners,
        serverID: String,
        times: KeyServiceTimes = .standard,
        clock: any NodeClock,
        report: @escaping @Sendable (KeyServiceReport) -> Void = { _ in }
    ) {
        owner = serverID
        self.clock = clock
        link = KeyServiceLink(
            socket: socket,
            owners: owners,
            owner: serverID,
            times: times,
            clock: clock,
            report: report
        )
    }

    private init(owner: String, clock: any NodeClock, link: KeyServiceLink) {
        self.owner = owner
        self.clock = clock
        self.link = link
    }

    /// The keys of upstream authorities that this server holds: another owner's, whom no sweep knows.
    var upstream: Self { Self(owner: "upstream-\(owner)", clock: clock, link: link) }

    /// Makes a key, and lets it sign once; it is nobody's until an authority names it.
    ///
    /// - Throws: `KeyServiceError`; `.keyUnusable` also for a key that was there before, which a
    ///   service would give that has one key alone, and `.tooManyKeys`.
    func make(_ type: AuthorityKeyType) throws(KeyServiceError) -> KeyServiceSigner {
        let known = Set(try all())
        guard known.count < Self.keysMadeMax else {
            throw .tooManyKeys(owner: owner, count: known.count)
        }
        var request = Signet_Keyservice_V1alpha1_GenerateRequest()
        request.owner = owner
        request.keyType = type.inKeyService
        let key = try link.call(.generate, isBatch: true) { [request] service, options in
            try await service.generate(request, options: options).key.spki
        } reading: { (spki: Data) throws(KeyServiceError) in
            guard let key = AuthorityPublicKey(subjectPublicKeyInfo: Array(spki)) else {
                throw .keyUnusable(reason: "it is none that authorities are made with")
            }
            guard key.keyType == type else {
                throw .keyUnusable(
                    reason: "it is \(key.keyType.rawValue), and \(type.rawValue) was asked for"
                )
            }
            guard !known.contains(key.subjectPublicKeyInfo) else {
                throw .keyUnusable(reason: "a new one was asked for, and it was there before")
            }
            return key
        }
        let signer = KeyServiceSigner(key, owner: owner, link: link)
        _ = try signer.sign([Self.proof])
        return signer
    }

    /// The key of an authority; nil if the service does not hold it.
    ///
    /// - Throws: `KeyServiceError`, also when the service is away, or names keys that cannot be read,
    ///   of which it may be one: that is not the same.
    func signer(_ name: AuthorityKey) throws(KeyServiceError) -> KeyServiceSigner? {
        let (keys, unread) = try read()
        if let key = keys.first(where: { $0.isKey(name) }) {
            return KeyServiceSigner(key, owner: owner, link: link)
        }
        guard unread == 0 else { throw Self.unreadable(unread) }
        return nil
    }

    /// Destroys the keys of this server but some, as many as one sweep may.
    ///
    /// What is destroyed cannot be brought back, so nothing is on the word of a list that does not
    /// name what has to be there, and no key is that cannot be read: it may be one that is needed, in
    /// another encoding, or one of a later release.
    ///
    /// - Parameters:
    ///   - kept: The keys that are of use.
    ///   - files: The keys that are in files, and need not be in the service.
    /// - Throws: The first of what went wrong; everything else is destroyed all the same.
    func sweep(
        keeping kept: Set<AuthorityKey>,
        besides files: Set<AuthorityKey>
    ) throws(KeyServiceError) {
        let (keys, unread) = try read()
        var problem = unread == 0 ? nil : Self.unreadable(unread)
        for name in kept.subtracting(files) where name.isNamed {
            guard keys.contains(where: { $0.isKey(name) }) else {
                throw problem ?? Self.missing(name)
            }
        }
        let unneeded = keys.filter { key in !kept.contains { key.isKey($0) } }
        let end = clock.bootTime + Self.sweepDurationMax
        // In any order, so that some that cannot be destroyed keep no others.
        for key in unneeded.shuffled().prefix(Self.destroyedMax) where clock.bootTime < end {
            do throws(KeyServiceError) {
                try destroy(key.spkiSHA256)
            } catch {
                // The next ones would wait as long for nothing.
                if error.isAbsence { throw error }
                problem = problem ?? error
            }
        }
        if let problem { throw problem }
    }

    /// The IDs that authorities of all these keys have, or would have.
    ///
    /// - Throws: `KeyServiceError`.
    func authorityIDs() throws(KeyServiceError) -> Set<String> {
        Set(try read().keys.map(\.authorityID))
    }

    /// Destroys the key of one authority; one that is not there is no error.
    ///
    /// - Throws: `KeyServiceError`.
    func destroy(authorityID: String) throws(KeyServiceError) {
        guard let signer = try signer(AuthorityKey(authorityID)) else { return }
        try destroy(signer.key.spkiSHA256)
    }

    private static func unreadable(_ count: Int) -> KeyServiceError {
        .answerMalformed(
            call: .list,
            reason: "\(count) of the keys in it cannot be read, and are neither used nor destroyed"
        )
    }

    private static func missing(_ name: AuthorityKey) -> KeyServiceError {
        let what = name.purpose == .tokens ? "key for tokens" : "key"
        return .answerMalformed(
            call: .list,
            reason: "the \(what) of authority \(name.authorityID) is not in it, so none is "
                + "destroyed; revoke the authority if its key is lost"
        )
    }

    /// The keys that the service has of this server, and how many of them cannot be read.
    private func read() throws(KeyServiceError) -> (keys: [AuthorityPublicKey], unread: Int) {
        let all = try all()
        let keys = all.compactMap { AuthorityPublicKey(subjectPublicKeyInfo: $0) }
        return (keys, all.count - keys.count)
    }

    private func destroy(_ spkiSHA256: [UInt8]) throws(KeyServiceError) {
        var request = Signet_Keyservice_V1alpha1_DestroyRequest()
        request.key = Self.name(of: spkiSHA256, owner: owner)
        try link.call(.destroy) { [request] service, options in
            do {
                _ = try await service.destroy(request, options: options)
            } catch let error as RPCError where error.code == .notFound {
                // It has gone already.
            }
        } reading: { _ in
        }
    }

    /// The SubjectPublicKeyInfo of each key that the service has of this server.
    private func all() throws(KeyServiceError) -> [[UInt8]] {
        var request = Signet_Keyservice_V1alpha1_ListRequest()
        request.owner = owner
        return try link.call(.list) { [request] service, options in
            try await service.list(request, options: options).keys.map(\.spki)
        } reading: { (keys: [Data]) throws(KeyServiceError) in
            guard keys.count <= Self.keysMax else {
                throw .answerMalformed(
                    call: .list,
                    reason: "\(keys.count) keys, and at most \(Self.keysMax) are read"
                )
            }
            return keys.map { Array($0) }
        }
    }

    fileprivate static func name(
        of spkiSHA256: [UInt8],
        owner: String
    ) -> Signet_Keyservice_V1alpha1_KeyName {
        var name = Signet_Keyservice_V1alpha1_KeyName()
        name.owner = owner
        name.spkiSha256 = Data(spkiSHA256)
        return name
    }
}

extension AuthorityKey {
    /// Whether a list can be searched for it.
    fileprivate var isNamed: Bool { purpose == .certificates || publicKey != nil }
}

extension AuthorityPublicKey {
    /// Whether it is the public half of an authority's key.
    ///
    /// The ID of an authority is made of its key for certificates; of the one for tokens nothing but
    /// the record tells.
    fileprivate func isKey(_ name: AuthorityKey) -> Bool {
        if let publicKey = name.publicKey { return publicKey == subjectPublicKeyInfo }
        return name.purpose == .certificates && name.authorityID == authorityID
    }
}

extension AuthorityKeyType {
    fileprivate var inKeyService: Signet_Keyservice_V1alpha1_KeyType {
        switch self {
        case .p256: .ecP256
        case .p384: .ecP384
        case .rsa2048: .rsa2048
        case .rsa4096: .rsa4096
        }
    }
}

extension SignatureAlgorithm {
    fileprivate var inKeyService: Signet_Keyservice_V1alpha1_Algorithm {
        switch self {
        case .ecdsaWithSHA256: .ecdsaSha256
        case .ecdsaWithSHA384: .ecdsaSha384
        case .sha256WithRSAEncryption: .rsaPkcs1Sha256
        }
    }
}
