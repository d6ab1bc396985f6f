// SPDX-License-Identifier: Apache-2.0

internal import CTLS
package import FoundationEssentials
internal import SPIFFE

/// What came of one step of a TLS session.
package enum TLSStep: Equatable, Sendable {
    /// So many bytes were read or written; 1 when a handshake is done.
    case done(Int)
    /// The peer has ended its side properly.
    case end
    case wantsInput
    /// It is over; `failure` says why.
    case failed
}

/// Why a TLS session failed.
package enum TLSFailure: Hashable, Sendable, CustomStringConvertible {
    case peerRefused(PeerRefusal)
    /// The peer said so, by the alert's number (RFC 8446 section 6).
    case alertReceived(UInt8)
    /// More KeyUpdates or tickets than anybody needs.
    case postHandshakeFlood
    /// Something else, in the words of the library.
    case protocolBroken(String)

    /// Whether the peer has said that our certificate is not let in.
    ///
    /// These alerts belong to the handshake (RFC 8446 section 6.2), which ends for a client before
    /// its server has seen the certificate: a server that sends one has looked at nothing else.
    package var isCertificateAlert: Bool {
        guard case .alertReceived(let alert) = self else { return false }
        // bad_certificate to certificate_unknown, unknown_ca, access_denied, certificate_required.
        return (42...46).contains(alert) || [48, 49, 116].contains(alert)
    }

    /// The reason in one word, for metrics: a closed set.
    package var label: String {
        switch self {
        case .peerRefused(let refusal): refusal.label
        case .alertReceived(let alert): "alert_\(alert)"
        case .postHandshakeFlood: "key_update_flood"
        case .protocolBroken: "protocol_error"
        }
    }

    package var description: String {
        switch self {
        case .peerRefused(let refusal): "\(refusal)"
        case .alertReceived(let alert): "the peer sent alert \(alert)"
        case .postHandshakeFlood: "the peer sent too many post-handshake messages"
        case .protocolBroken(let words): "TLS failed: \(words)"
        }
    }
}

/// One TLS connection, over buffers: ciphertext in, ciphertext out, no socket.
///
/// The library keeps no pointer to anything of ours between two calls; what it did not take of the
/// input stays in the caller's buffer.
@safe package struct TLSSession: ~Copyable {
    /// Most bytes in a TLS record (RFC 8446 section 5.1).
    package static let recordBytesMax = 16 * 1024
    /// What a record's header, padding and tag take at most.
    private static let recordOverheadBytes = 256
    /// Room for a flight of the handshake; a chain of 32 KiB takes a second call.
    private static let flightBytes = 16 * 1024
    /// Records under one key: half of what AES-GCM keeps its promises for (RFC 8446 section 5.5).
    package static let recordsPerKeyMax: UInt64 = 1 << 23
    /// Bytes under one key; 64 GiB.
    package static let bytesPerKeyMax: UInt64 = 1 << 36
    /// Time under one key, in milliseconds.
    package static let keyMillisecondsMax: UInt64 = 3_600_000
    /// Most KeyUpdates and tickets that a peer may send in a minute: each costs more than it to
    /// send, and nobody needs one an hour.
    package static let postHandshakePerMinuteMax: UInt32 = 32

    private let context: TLSContext
    private let session: OpaquePointer
    /// Who is at the other end; set when the handshake is done.
    package private(set) var peer: TLSPeer?
    /// Why it failed.
    package private(set) var failure: TLSFailure?
    package private(set) var isEstablished = false
    private let recordsPerKeyMax: UInt64
    private let bytesPerKeyMax: UInt64
    private var records: UInt64 = 0
    private var bytes: UInt64 = 0
    private var keySince: UInt64 = 0
    private var messages: UInt32 = 0
    private var messagesSince: UInt64 = 0
    /// How often we took a new key.
    package private(set) var keyUpdates: UInt32 = 0

    /// Begins a connection; nil if there is no memory for it.
    ///
    /// - Parameters:
    ///   - context: What it shares with others.
    ///   - serverName: What a client asks for; no meaning for a server.
    ///   - recordsPerKeyMax: After so many records a new key is taken.
    ///   - bytesPerKeyMax: After so many bytes a new key is taken.
    ///   - now: Milliseconds since boot.
    package init?(
        _ context: TLSContext,
        serverName: String? = nil,
        recordsPerKeyMax: UInt64 = Self.recordsPerKeyMax,
        bytesPerKeyMax: UInt64 = Self.bytesPerKeyMax,
        now: UInt64
    ) {
        let made: OpaquePointer? =
            if let serverName {
                unsafe context.table.pointee.session_new(context.context, serverName)
            } else {
                unsafe context.table.pointee.session_new(context.context, nil)
            }
        guard let made = unsafe made else { return nil }
        self.context = context
        unsafe session = made
        self.recordsPerKeyMax = recordsPerKeyMax
        self.bytesPerKeyMax = bytesPerKeyMax
        keySince = now
        messagesSince = now
    }

    deinit { unsafe context.table.pointee.session_free(session) }

    // MARK: Handshake

    /// Goes on with the handshake.
    ///
    /// - Parameters:
    ///   - input: Ciphertext that has arrived; what is taken is consumed.
    ///   - output: Where ciphertext to be sent is added, after a failure too.
    ///   - requirements: Whom to believe and to admit.
    ///   - now: The wall clock.
    /// - Returns: `.done` when both sides have finished.
    package mutating func handshake(
        _ input: inout Buffer,
        output: inout Buffer,
        requirements: PeerRequirements,
        now: Date
    ) -> TLSStep {
        guard failure == nil else { return .failed }
        guard requirements.authorities.provider == context.provider else {
            failure = .protocolBroken("the authorities are those of another library")
            return .failed
        }
        let table = unsafe context.table
        var judgement = unsafe TLSJudgement(requirements, now: now, table)
        while true {
            output.reserve(Self.flightBytes)
            let outcome = unsafe withUnsafeMutablePointer(to: &judgement) { judgement in
                unsafe run(&input, &output) { session, input, room in
                    unsafe table.pointee.session_handshake(
                        session,
                        input,
                        room.baseAddress,
                        room.count,
                        TLSJudgement.verify,
                        judgement
                    )
                }
            }
            switch judgement.outcome {
            case .success(let peer): self.peer = peer
            case .failure(let refusal): failure = .peerRefused(refusal)
            case nil: break
            }
            if unsafe outcome.result == Int64(ctls_wants_room) { continue }
            let step = unsafe step(outcome)
            guard case .done = step else { return step }
            // Without a verdict of ours there is no peer, whatever the library says.
            guard peer != nil else {
                failure = failure ?? .peerRefused(.verification(.chainEmpty))
                return .failed
            }
            isEstablished = true
            return step
        }
    }

    // MARK: Bytes

    /// Decrypts at most one record.
    ///
    /// - Parameters:
    ///   - input: Ciphertext that has arrived; what is taken is consumed.
    ///   - plain: Where the plaintext is added; it must have room.
    ///   - output: Where ciphertext is added that the peer asks for.
    ///   - now: Milliseconds since boot.
    /// - Returns: `.done` with the number of bytes, `.end` after close_notify, or `.wantsInput`.
    package mutating func read(
        _ input: inout Buffer,
        into plain: inout Buffer,
        output: inout Buffer,
        now: UInt64
    ) -> TLSStep {
        guard failure == nil else { return .failed }
        output.reserve(Self.recordOverheadBytes)
        let table = unsafe context.table
        let outcome: ctls_outcome = unsafe plain.fillTail { tail in
            let outcome = unsafe run(&input, &output) { session, input, room in
                guard let start = tail.baseAddress else {
                    return unsafe ctls_outcome.failed
                }
                return unsafe table.pointee.session_read(
                    session,
                    input,
                    room.baseAddress,
                    room.count,
                    start.assumingMemoryBound(to: UInt8.self),
                    min(tail.count, Self.recordBytesMax)
                )
            }
            return unsafe (Int(max(0, outcome.result)), outcome)
        }
        if unsafe outcome.post_handshake_messages > 0 {
            unsafe note(outcome.post_handshake_messages, now)
        }
        return failure == nil ? unsafe step(outcome) : .failed
    }

    private mutating func note(_ number: UInt32, _ now: UInt64) {
        if now >= messagesSince + 60_000 { (messages, messagesSince) = (0, now) }
        messages += number
        if messages > Self.postHandshakePerMinuteMax { failure = .postHandshakeFlood }
    }

    /// Encrypts all of `bytes`.
    ///
    /// - Parameters:
    ///   - bytes: The plaintext.
    ///   - output: Where the records are added.
    ///   - now: Milliseconds since boot.
    /// - Returns: `.done` with the number of bytes, which is all of them.
    package mutating func write(
        _ bytes: Span<UInt8>,
        output: inout Buffer,
        now: UInt64
    ) -> TLSStep {
        guard failure == nil else { return .failed }
        guard !bytes.isEmpty else { return .done(0) }
        let parts = (bytes.count + Self.recordBytesMax - 1) / Self.recordBytesMax
        if records >= recordsPerKeyMax || self.bytes >= bytesPerKeyMax
            || now >= keySince + Self.keyMillisecondsMax
        {
            updateKeys(now: now)
        }
        records += UInt64(parts)
        self.bytes += UInt64(bytes.count)
        output.reserve(bytes.count + (parts + 1) * Self.recordOverheadBytes)
        let table = unsafe context.table
        var none = Buffer()
        let outcome: ctls_outcome = unsafe bytes.withAddress { start, count in
            unsafe run(&none, &output) { session, _, room in
                unsafe table.pointee.session_write(
                    session,
                    ctls_bytes(bytes: start, count: count),
                    room.baseAddress,
                    room.count
                )
            }
        }
        let step = unsafe step(outcome)
        if step == .wantsInput || step == .done(0) {
            failure = .protocolBroken("a record was not written whole")
            return .failed
        }
        return step
    }

    /// Takes a new key for what is written from now on, and asks the peer for one too.
    package mutating func updateKeys(now: UInt64) {
        guard unsafe context.table.pointee.session_update_keys(session) else { return }
        (records, bytes, keySince) = (0, 0, now)
        keyUpdates += 1
    }

    /// Says that nothing more will be written (close_notify); the peer may go on.
    package mutating func shutdown(output: inout Buffer) {
        guard failure == nil, isEstablished else { return }
        output.reserve(Self.recordOverheadBytes)
        let table = unsafe context.table
        var none = Buffer()
        _ = unsafe run(&none, &output) { session, _, room in
            unsafe table.pointee.session_shutdown(session, room.baseAddress, room.count)
        }
    }

    private borrowing func run(
        _ input: inout Buffer,
        _ output: inout Buffer,
        _ call: (OpaquePointer, ctls_bytes, Room) -> ctls_outcome
    ) -> ctls_outcome {
        let outcome: ctls_outcome = unsafe output.fillTail { tail in
            guard let start = tail.baseAddress else { return unsafe (0, ctls_outcome.failed) }
            let room = unsafe Room(
                baseAddress: start.assumingMemoryBound(to: UInt8.self),
                count: tail.count
            )
            let outcome = unsafe input.bytes.withAddress { start, count in
                unsafe call(session, ctls_bytes(bytes: start, count: count), room)
            }
            return unsafe (outcome.produced, outcome)
        }
        unsafe input.consume(outcome.consumed)
        return unsafe outcome
    }

    /// The room for ciphertext, which is never without address.
    @safe private struct Room {
        let baseAddress: UnsafeMutablePointer<UInt8>
        let count: Int
    }

    private mutating func step(_ outcome: ctls_outcome) -> TLSStep {
        if unsafe outcome.result > 0 { return unsafe .done(Int(outcome.result)) }
        switch unsafe outcome.result {
        case Int64(ctls_end): return .end
        case Int64(ctls_wants_input): return .wantsInput
        default:
            if failure == nil {
                let words = unsafe outcome.reason.map { unsafe String(cString: $0) } ?? "no reason"
                failure =
                    unsafe outcome.alert >= 0
                    ? .alertReceived(UInt8(truncatingIfNeeded: unsafe outcome.alert))
                    : .protocolBroken(words)
            }
            return .failed
        }
    }

    // MARK: What was agreed upon

    /// The protocol agreed upon; nil if none was.
    package borrowing func negotiatedProtocol() -> String? {
        let bytes = unsafe context.table.pointee.session_protocol(session)
        guard unsafe bytes.count > 0 else { return nil }
        let buffer = unsafe UnsafeBufferPointer(start: bytes.bytes, count: bytes.count)
        return unsafe String(decoding: buffer, as: UTF8.self)
    }

    /// The group in which the keys were agreed upon; nil if the library does not tell.
    package borrowing func negotiatedGroup() -> TLSGroup? {
        let group = unsafe context.table.pointee.session_group(session)
        return group == 0 ? nil : TLSGroup(rawValue: group)
    }

    /// Whether the peer was let in by an earlier session; never, and tests hold us to it.
    package borrowing func isResumed() -> Bool {
        unsafe context.table.pointee.session_is_resumed(session)
    }

    /// The server name that the client asked for.
    package borrowing func requestedName() -> String? {
        unsafe context.table.pointee.session_name(session).map { unsafe String(cString: $0) }
    }
}

extension ctls_outcome {
    /// What a call without room comes to.
    fileprivate static var failed: Self {
        var outcome = unsafe Self()
        unsafe outcome.result = Int64(ctls_failed)
        unsafe outcome.alert = -1
        return unsafe outcome
    }
}
