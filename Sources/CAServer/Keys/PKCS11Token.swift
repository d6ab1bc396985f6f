// SPDX-License-Identifier: Apache-2.0

internal import Dispatch
internal import Synchronization

/// One token of a PKCS #11 module, with the sessions that this server has in it.
///
/// Calls block, as long as the module does and while no session is free: they are made on threads
/// that no task needs. A session that has ended, or a device that was away, is tried once more with
/// a new session, and once more with a module that was initialised anew.
final class PKCS11Token: Sendable {
    /// A session and the keys that were found in it.
    struct Session {
        let handle: PKCS11Module.Session
        fileprivate var keys: [String: UInt64] = [:]
    }

    /// Most sessions at once: as many as batches are signed at once.
    static let sessionsMax = 8

    private struct State {
        var idle: [Session] = []
        /// Sessions that were opened before the last trouble are not kept.
        var generation: UInt64 = 0
        var refusedPIN: PKCS11Error?
    }

    private enum Attempt: CaseIterable {
        case anySession
        case newSession
        case restartedModule
    }

    private let module: PKCS11Module
    private let label: String
    private let pin: Secret
    private let places = DispatchSemaphore(value: sessionsMax)
    private let state = Mutex(State())

    /// A token of a module; nothing is opened yet.
    init(module: PKCS11Module, label: String, pin: Secret) {
        self.module = module
        self.label = label
        self.pin = pin
    }

    deinit {
        for session in state.withLock({ $0.idle }) { module.close(session.handle) }
    }

    /// Makes a key pair and reads it back.
    ///
    /// - Returns: The bytes of the public key.
    func generate(
        _ template: PKCS11Module.KeyTemplate,
        label: String
    ) throws(PKCS11Error) -> PKCS11PublicKey {
        try withSession { [module] (session) throws(PKCS11Error) in
            let pair = try module.generate(template, label: label, in: session.handle)
            let key = pair.privateKey
            let isSensitive = try module.attribute(.isSensitive, of: key, in: session.handle)
            let isExtractable = try module.attribute(.isExtractable, of: key, in: session.handle)
            guard isSensitive == [1], isExtractable == [0] else {
                try? module.destroy(pair.privateKey, in: session.handle)
                try? module.destroy(pair.publicKey, in: session.handle)
                throw .keyUnusable("the module made a key that can be taken out of the token")
            }
            return try PKCS11PublicKey(pair.publicKey, of: module, in: session.handle)
        }
    }

    /// Names both halves of a key anew.
    func rename(_ old: String, to label: String, id: [UInt8]) throws(PKCS11Error) {
        try withSession { [module] (session) throws(PKCS11Error) in
            for objectClass in [PKCS11Module.ObjectClass.publicKey, .privateKey] {
                for object in try module.find(objectClass, label: old, in: session.handle) {
                    try module.name(object, id: id, label: label, in: session.handle)
                }
            }
            // What was renamed before a trouble counts too.
            let found = try module.find(.privateKey, label: label, in: session.handle)
            guard found.count == 1 else { throw .keyNotFound(label: label) }
        }
    }

    /// The public half of a key; nil if the token does not hold both.
    func publicKey(label: String) throws(PKCS11Error) -> PKCS11PublicKey? {
        // A session that was logged out behind our back sees no private keys, and says nothing.
        forgetSessions()
        return try withSession { [module] (session) throws(PKCS11Error) in
            guard
                let publicKey = try module.find(.publicKey, label: label, in: session.handle).first,
                try !module.find(.privateKey, label: label, in: session.handle).isEmpty
            else { return nil }
            return try PKCS11PublicKey(publicKey, of: module, in: session.handle)
        }
    }

    /// The labels of all keys that begin so.
    func labels(beginningWith prefix: String) throws(PKCS11Error) -> Set<String> {
        try withSession { [module] (session) throws(PKCS11Error) in
            var labels: Set<String> = []
            for objectClass in [PKCS11Module.ObjectClass.publicKey, .privateKey] {
                for object in try module.find(objectClass, in: session.handle) {
                    // An object of somebody else may be without label, or go meanwhile.
                    guard
                        let bytes = try? module.attribute(.label, of: object, in: session.handle)
                    else { continue }
                    let label = String(decoding: bytes, as: UTF8.self)
                    if label.hasPrefix(prefix) { labels.insert(label) }
                }
            }
            return labels
        }
    }

    /// Destroys both halves of a key; one that is not there is no error.
    func destroy(label: String) throws(PKCS11Error) {
        try withSession { [module] (session) throws(PKCS11Error) in
            session.keys[label] = nil
            for objectClass in [PKCS11Module.ObjectClass.privateKey, .publicKey] {
                for object in try module.find(objectClass, label: label, in: session.handle) {
                    try module.destroy(object, in: session.handle)
                }
            }
        }
    }

    /// Signs with the private key of the label.
    func sign(
        _ bytes: [UInt8],
        label: String,
        _ mechanism: PKCS11Module.Mechanism
    ) throws(PKCS11Error) -> [UInt8] {
        try withSession { [module] (session) throws(PKCS11Error) in
            let key: UInt64
            if let known = session.keys[label] {
                key = known
            } else {
                guard
                    let found = try module.find(.privateKey, label: label, in: session.handle).first
                else { throw .keyNotFound(label: label) }
                session.keys[label] = found
                key = found
            }
            return try module.sign(bytes, with: key, mechanism, in: session.handle)
        }
    }

    /// Ends the login of the process and all sessions that no call has, as a device does that goes
    /// away; for tests of what happens then.
    func lose() {
        for session in state.withLock({ $0.idle }) {
            module.logOut(session.handle)
            module.close(session.handle)
        }
    }

    private func withSession<Value>(
        _ body: (inout Session) throws(PKCS11Error) -> Value
    ) throws(PKCS11Error) -> Value {
        places.wait()
        defer { places.signal() }
        let restarts = module.restarts
        var last: PKCS11Error?
        for attempt in Attempt.allCases {
            do throws(PKCS11Error) {
                if attempt != .anySession { forgetSessions() }
                if attempt == .restartedModule { try module.restart(seen: restarts) }
                return try inSession(body)
            } catch {
                guard error.mayPass else { throw error }
                last = error
            }
        }
        throw last ?? .tokenNotFound(label: label)
    }

    private func inSession<Value>(
        _ body: (inout Session) throws(PKCS11Error) -> Value
    ) throws(PKCS11Error) -> Value {
        var (session, generation) = try session()
        do throws(PKCS11Error) {
            let value = try body(&session)
            giveBack(session, of: generation)
            return value
        } catch {
            module.close(session.handle)
            throw error
        }
    }

    private func session() throws(PKCS11Error) -> (Session, generation: UInt64) {
        let (idle, generation, refused) = state.withLock { state in
            (state.idle.popLast(), state.generation, state.refusedPIN)
        }
        if let idle { return (idle, generation) }
        if let refused { throw refused }
        let handle = try module.openSession(token: label)
        do throws(PKCS11Error) {
            try module.logIn(handle, pin: pin)
        } catch {
            module.close(handle)
            if case .pinRefused = error { state.withLock { $0.refusedPIN = error } }
            throw error
        }
        return (Session(handle: handle), generation)
    }

    private func giveBack(_ session: Session, of generation: UInt64) {
        let isKept = state.withLock { state in
            guard state.generation == generation else { return false }
            state.idle.append(session)
            return true
        }
        if !isKept { module.close(session.handle) }
    }

    private func forgetSessions() {
        let forgotten = state.withLock { state in
            state.generation += 1
            defer { state.idle = [] }
            return state.idle
        }
        for session in forgotten { module.close(session.handle) }
    }
}

/// The public half of a token's key, as the token tells it.
enum PKCS11PublicKey: Hashable, Sendable {
    /// The DER of the curve's name, and the point: as it is, or in an OCTET STRING.
    case ellipticCurve(parameters: [UInt8], point: [UInt8])
    case rsa(modulus: [UInt8], exponent: [UInt8])

    fileprivate init(
        _ object: UInt64,
        of module: PKCS11Module,
        in session: PKCS11Module.Session
    ) throws(PKCS11Error) {
        if let parameters = try? module.attribute(.ecParameters, of: object, in: session) {
            self = .ellipticCurve(
                parameters: parameters,
                point: try module.attribute(.ecPoint, of: object, in: session)
            )
        } else {
            self = .rsa(
                modulus: try module.attribute(.modulus, of: object, in: session),
                exponent: try module.attribute(.publicExponent, of: object, in: session)
            )
        }
    }
}
