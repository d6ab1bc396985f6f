// SPDX-License-Identifier: Apache-2.0

internal import CPKCS11

/// A call of a PKCS #11 module that did not succeed.
package enum PKCS11Error: Error, Hashable, Sendable, CustomStringConvertible {
    /// A key that was made, or found, is not what was asked for.
    case keyUnusable(String)
    /// No key of the token has the label.
    case keyNotFound(label: String)
    /// The module's file cannot be used.
    case moduleUnusable(path: String, reason: String)
    /// The PIN is wrong, locked or expired: it is not tried again.
    case pinRefused(code: UInt)
    case refused(function: String, code: UInt)
    case tokenNotFound(label: String)

    package var description: String {
        switch self {
        case .keyUnusable(let reason): "the token's key cannot be used: \(reason)"
        case .keyNotFound(let label): "the token has no key with the label \(label)"
        case .moduleUnusable(let path, let reason):
            "the PKCS #11 module \(path) cannot be used: \(reason)"
        case .pinRefused(let code):
            "the token refused the PIN (code 0x\(String(code, radix: 16))), which is not tried "
                + "again, because tokens lock themselves: mend pkcs11PIN and restart"
        case .refused(let function, let code):
            "the PKCS #11 module refused \(function) (code 0x\(String(code, radix: 16)))"
        case .tokenNotFound(let label):
            "no slot of the PKCS #11 module has a token with the label \(label)"
        }
    }

    /// Whether another session, or a module that was restarted, may do better.
    var mayPass: Bool {
        switch self {
        case .keyNotFound, .tokenNotFound: true
        case .keyUnusable, .moduleUnusable, .pinRefused: false
        case .refused(_, let code): Self.passing.contains(code)
        }
    }

    /// What a session says that has ended, and a module that has lost its device.
    private static let passing: Set<UInt> = [
        CPKCS11_DEVICE_ERROR, CPKCS11_DEVICE_REMOVED, CPKCS11_FUNCTION_FAILED,
        CPKCS11_GENERAL_ERROR, CPKCS11_KEY_HANDLE_INVALID, CPKCS11_NOT_INITIALIZED,
        CPKCS11_OBJECT_HANDLE_INVALID, CPKCS11_OPERATION_ACTIVE, CPKCS11_SESSION_CLOSED,
        CPKCS11_SESSION_HANDLE_INVALID, CPKCS11_SLOT_ID_INVALID, CPKCS11_TOKEN_NOT_PRESENT,
        CPKCS11_TOKEN_NOT_RECOGNIZED, CPKCS11_USER_NOT_LOGGED_IN,
    ]

    fileprivate static let pin: Set<UInt> = [
        CPKCS11_PIN_EXPIRED, CPKCS11_PIN_INCORRECT, CPKCS11_PIN_INVALID, CPKCS11_PIN_LEN_RANGE,
        CPKCS11_PIN_LOCKED,
    ]
}

/// A PKCS #11 module, loaded into this process for good.
///
/// Every call blocks as long as the module does. The only unsafe code is the passing of buffers.
struct PKCS11Module: Hashable, Sendable {
    /// A session; of one that a restart has ended the handle may be another one's now.
    struct Session: Hashable, Sendable {
        fileprivate let handle: UInt64
        fileprivate let restarts: UInt64

        fileprivate var value: cpkcs11_session {
            cpkcs11_session(handle: handle, restarts: restarts)
        }
    }

    /// What can be asked of an object.
    enum Attribute {
        case ecParameters
        case ecPoint
        case isExtractable
        case isSensitive
        case label
        case modulus
        case publicExponent

        fileprivate var type: UInt {
            switch self {
            case .ecParameters: CPKCS11_EC_PARAMS
            case .ecPoint: CPKCS11_EC_POINT
            case .isExtractable: CPKCS11_EXTRACTABLE
            case .isSensitive: CPKCS11_SENSITIVE
            case .label: CPKCS11_LABEL
            case .modulus: CPKCS11_MODULUS
            case .publicExponent: CPKCS11_PUBLIC_EXPONENT
            }
        }
    }

    /// The halves of a key pair.
    enum ObjectClass {
        case privateKey
        case publicKey

        fileprivate var number: UInt {
            switch self {
            case .privateKey: CPKCS11_PRIVATE_KEY
            case .publicKey: CPKCS11_PUBLIC_KEY
            }
        }
    }

    /// How a key signs.
    enum Mechanism {
        /// Over a digest; r and s, one after the other.
        case ecdsa
        /// Over the DigestInfo of a digest.
        case rsaPKCS
        /// Over the bytes themselves.
        case sha256RSAPKCS

        fileprivate var number: UInt {
            switch self {
            case .ecdsa: CPKCS11_ECDSA
            case .rsaPKCS: CPKCS11_RSA_PKCS
            case .sha256RSAPKCS: CPKCS11_SHA256_RSA_PKCS
            }
        }
    }

    /// What key pair is made.
    enum KeyTemplate {
        /// The DER of a named curve's object identifier.
        case curve([UInt8])
        case rsa(modulusBits: UInt32)
    }

    /// Largest attribute that is read: a modulus of 4096 bits has 512 bytes.
    static let attributeBytesMax = 1024
    /// Most objects of one class looked at: tokens are small, and one key a day lives for two.
    static let objectsMax = 1024

    private let number: Int32

    /// Loads and initialises the module in a file.
    init(path: String) throws(PKCS11Error) {
        var number: Int32 = -1
        let code = unsafe path.withCString { unsafe cpkcs11_load($0, &number) }
        guard code != CPKCS11_NO_MODULE else {
            let reason = unsafe String(cString: cpkcs11_load_problem())
            throw .moduleUnusable(path: path, reason: reason)
        }
        try Self.check(code, "C_Initialize")
        self.number = number
    }

    /// How often it was restarted.
    var restarts: UInt64 { cpkcs11_restarts(number) }

    /// Initialises it anew, unless that happened since `restarts` was `seen`.
    func restart(seen: UInt64) throws(PKCS11Error) {
        try Self.check(cpkcs11_restart(number, seen), "C_Initialize")
    }

    /// Opens a session with the token of that label.
    func openSession(token label: String) throws(PKCS11Error) -> Session {
        var session = cpkcs11_session()
        let code = unsafe Array(label.utf8).withUnsafeBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return CPKCS11_NO_SUCH_TOKEN }
            return unsafe cpkcs11_open_session(number, base, bytes.count, &session)
        }
        guard code != CPKCS11_NO_SUCH_TOKEN else { throw .tokenNotFound(label: label) }
        try Self.check(code, "C_OpenSession")
        return Session(handle: session.handle, restarts: session.restarts)
    }

    func close(_ session: Session) { _ = cpkcs11_close_session(number, session.value) }

    /// Logs in, unless this process is.
    func logIn(_ session: Session, pin: Secret) throws(PKCS11Error) {
        let code = unsafe pin.bytes.withUnsafeBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return CPKCS11_PIN_INVALID }
            return unsafe cpkcs11_login(number, session.value, base, bytes.count)
        }
        guard !PKCS11Error.pin.contains(code) else { throw .pinRefused(code: code) }
        try Self.check(code, "C_Login")
    }

    /// Ends the login of the whole process.
    func logOut(_ session: Session) { _ = cpkcs11_logout(number, session.value) }

    /// Makes a key pair, both halves with the label.
    func generate(
        _ template: KeyTemplate,
        label: String,
        in session: Session
    ) throws(PKCS11Error) -> (publicKey: UInt64, privateKey: UInt64) {
        var (publicKey, privateKey): (UInt64, UInt64) = (0, 0)
        var (curve, modulusBits): ([UInt8], UInt32) = ([], 0)
        switch template {
        case .curve(let parameters): curve = parameters
        case .rsa(let bits): modulusBits = bits
        }
        let code = unsafe curve.withUnsafeBufferPointer { curve in
            unsafe Array(label.utf8).withUnsafeBufferPointer { label in
                guard let base = label.baseAddress else { return CPKCS11_GENERAL_ERROR }
                return unsafe cpkcs11_generate(
                    number,
                    session.value,
                    curve.isEmpty ? nil : curve.baseAddress,
                    curve.count,
                    modulusBits,
                    base,
                    label.count,
                    &publicKey,
                    &privateKey
                )
            }
        }
        try Self.check(code, "C_GenerateKeyPair")
        return (publicKey, privateKey)
    }

    /// Gives an object its ID and label.
    func name(
        _ object: UInt64,
        id: [UInt8],
        label: String,
        in session: Session
    ) throws(PKCS11Error) {
        let code = unsafe id.withUnsafeBufferPointer { id in
            unsafe Array(label.utf8).withUnsafeBufferPointer { label in
                guard let idBase = id.baseAddress, let base = label.baseAddress else {
                    return CPKCS11_GENERAL_ERROR
                }
                return unsafe cpkcs11_name(
                    number,
                    session.value,
                    object,
                    idBase,
                    id.count,
                    base,
                    label.count
                )
            }
        }
        try Self.check(code, "C_SetAttributeValue")
    }

    /// The objects of a class, with the label if one is given.
    func find(
        _ objectClass: ObjectClass,
        label: String? = nil,
        in session: Session
    ) throws(PKCS11Error) -> [UInt64] {
        var objects = [UInt64](repeating: 0, count: Self.objectsMax)
        var count = 0
        let code = unsafe objects.withUnsafeMutableBufferPointer { objects in
            unsafe Array((label ?? "").utf8).withUnsafeBufferPointer { bytes in
                guard let base = objects.baseAddress else { return CPKCS11_HOST_MEMORY }
                return unsafe cpkcs11_find(
                    number,
                    session.value,
                    objectClass.number,
                    label == nil ? nil : bytes.baseAddress,
                    bytes.count,
                    base,
                    objects.count,
                    &count
                )
            }
        }
        try Self.check(code, "C_FindObjects")
        return Array(objects.prefix(count))
    }

    func attribute(
        _ attribute: Attribute,
        of object: UInt64,
        in session: Session
    ) throws(PKCS11Error) -> [UInt8] {
        try unsafe Self.filled(Self.attributeBytesMax, "C_GetAttributeValue") { base, count in
            unsafe cpkcs11_attribute(number, session.value, object, attribute.type, base, &count)
        }
    }

    func destroy(_ object: UInt64, in session: Session) throws(PKCS11Error) {
        try Self.check(cpkcs11_destroy(number, session.value, object), "C_DestroyObject")
    }

    /// Signs with a private key.
    func sign(
        _ bytes: [UInt8],
        with key: UInt64,
        _ mechanism: Mechanism,
        in session: Session
    ) throws(PKCS11Error) -> [UInt8] {
        try unsafe Self.filled(Self.attributeBytesMax, "C_Sign") { base, count in
            unsafe bytes.withUnsafeBufferPointer { bytes in
                guard let start = bytes.baseAddress else { return CPKCS11_GENERAL_ERROR }
                return unsafe cpkcs11_sign(
                    number,
                    session.value,
                    key,
                    mechanism.number,
                    start,
                    bytes.count,
                    base,
                    &count
                )
            }
        }
    }

    /// What `call` writes into a buffer of `room` bytes.
    private static func filled(
        _ room: Int,
        _ function: String,
        _ call: (UnsafeMutablePointer<UInt8>, inout Int) -> UInt
    ) throws(PKCS11Error) -> [UInt8] {
        var value = [UInt8](repeating: 0, count: room)
        var count = room
        let code = unsafe value.withUnsafeMutableBufferPointer { value in
            guard let base = value.baseAddress else { return CPKCS11_HOST_MEMORY }
            return unsafe call(base, &count)
        }
        try check(code, function)
        return Array(value.prefix(count))
    }

    private static func check(_ code: UInt, _ function: String) throws(PKCS11Error) {
        guard code == CPKCS11_OK else { throw .refused(function: function, code: code) }
    }
}
