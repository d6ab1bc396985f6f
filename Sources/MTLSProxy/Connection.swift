// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import FoundationEssentials
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor
internal import SPIFFE

/// What came of reading from a connection.
enum Arrival {
    case bytes
    case wouldBlock
    /// The peer has ended its side properly.
    case end
    case failed
}

/// What a connection's deadline is about.
enum Waiting: UInt8 {
    case handshake
    case request
    case head
    case stall
    case answer
    case connect
    case pool
    case stream
    case linger
}

/// One socket with its TLS session and what waits on either side of it.
///
/// It knows neither the slab nor the loop: it reads, writes and remembers.
struct Connection: ~Copyable {
    let isDownstream: Bool
    let isHTTP: Bool
    /// The place of its listener in the loop.
    let place: Int
    /// Of the snapshot, for a client; for a server the route's `connectionGeneration`.
    let generation: UInt64
    private(set) var socket: Socket
    private(set) var tls: TLSSession?
    /// The other side of the relay.
    var other = Key.none

    // MARK: How far it is

    var isConnecting = false
    private(set) var isHandshaking: Bool
    /// Whether it is counted among the clients that have not shown who they are.
    var isStranger = false
    /// Whether the kernel may have bytes.
    private(set) var isReadable = false
    /// Whether the kernel has told of the peer's end, which comes behind the bytes that are there:
    /// nothing more will be told of.
    private var isEndNear = false
    /// Whether the peer has ended its side.
    private(set) var hasEnded = false
    /// Whether the kernel has told of a failure, or of the end of both directions.
    var isHungUp = false
    /// Whether a byte of a server has come: with TLS 1.3 nothing else tells that it has let us in.
    var hasAnswered = false
    /// Whether the handshake is done and one of the two does not believe the other all the same.
    ///
    /// The server has looked at nothing, and all that was sent to it is in `early` or `replay`.
    var isTurnedAway = false
    /// Whether its end was passed on to the other side of a stream.
    var hasPassedEnd = false
    /// Whether we have ended ours, or shall when everything is sent.
    private(set) var isEnding = false
    private var isEnded = false
    private var isAborted = false
    var isDead = false
    /// Whether what still arrives is thrown away until the peer ends.
    var isLingering = false
    var isQueued = false
    var isPooled = false
    var deadline: UInt64 = 0
    var waiting = Waiting.handshake

    // MARK: What waits

    /// Ciphertext, or plaintext without TLS, that the kernel did not take.
    private(set) var out = Buffer()
    /// Ciphertext that was not decrypted yet.
    private var carry = Buffer()
    /// Plaintext that was not passed on yet.
    private(set) var held = Buffer()
    /// Plaintext to be sent when the connection stands.
    private(set) var early = Buffer()

    // MARK: HTTP

    var request: RequestRelay
    var response: ResponseRelay
    var exchange = Exchange()
    /// What was sent on a connection that was used before, in case that its server ends it unseen.
    var replay = Buffer()
    /// Whether `replay` is all that was sent on a new connection, whose server may turn us away yet.
    var keepsSent = false

    // MARK: Who it is

    /// What the policies of generation `judged` say of the peer.
    var access = PeerAccess.nobody
    /// The generation of the snapshot that its peer was judged by; 0 before the first.
    var judged: UInt64 = 0
    /// When the peer's certificate or one above it ends, in seconds since 1970.
    var certificateEnds = Double.infinity
    /// An authority of the peer's path is tainted: not even a stream outlives the certificate.
    var endsWithCertificate = false
    var requestRewrite: RequestRewrite?
    let since: UInt64
    var uid: UInt32?
    let peerAddress: IPAddress?
    /// The target it leads to, and where that was among the listener's when it was looked up last.
    var target: UInt32 = 0
    var targetIndex = 0
    /// Among its listener's `serverIDs`, for a server whose certificate was verified; 0 for others.
    var serverNumber = 0
    /// Requests that a server has answered on it.
    var carried: UInt64 = 0
    /// Why it ends.
    var reason = ProxyReason.none
    /// More words about a server's failure, made only when there is one; on a client's connection
    /// for the record that is made next.
    var detail = ""

    init(
        isDownstream: Bool,
        isHTTP: Bool,
        place: Int,
        generation: UInt64,
        socket: consuming Socket,
        tls: consuming TLSSession?,
        peerAddress: IPAddress?,
        now: UInt64
    ) {
        self.isDownstream = isDownstream
        self.isHTTP = isHTTP
        self.place = place
        self.generation = generation
        isHandshaking = tls != nil
        self.socket = socket
        self.tls = tls
        self.peerAddress = peerAddress
        since = now
        request = RequestRelay()
        response = ResponseRelay()
    }

    /// Whether it was ever ready to carry something.
    var stands: Bool { isOpen && !isTurnedAway }

    /// Who is at the other end; nil without TLS and before the handshake is done.
    var peer: TLSPeer? {
        guard !isHandshaking else { return nil }
        switch tls {
        case .some(let session): return session.peer
        case .none: return nil
        }
    }

    var hasTLS: Bool { tls != nil }

    /// Whether nothing more should be written for now.
    var isBlocked: Bool { !out.isEmpty || !early.isEmpty }

    var isOpen: Bool { !isConnecting && !isHandshaking }

    /// The kernel has told of something.
    mutating func note(_ readiness: Poller.Readiness) {
        if readiness.isReadable { isReadable = true }
        if readiness.isLast { isEndNear = true }
        if readiness.isHungUp { isHungUp = true }
    }

    // MARK: Writing

    /// Sends bytes, or keeps them until they can be sent.
    mutating func write(_ bytes: Span<UInt8>, _ scratch: inout Buffer, now: UInt64) {
        if isDead || bytes.isEmpty { return }
        guard isOpen else {
            early.append(bytes)
            return
        }
        if keepsSent { keepSent(bytes) }
        guard tls != nil else {
            send(bytes)
            return
        }
        if case .done = tls?.write(bytes, output: &scratch, now: now) {
            sendCiphertext(&scratch)
        } else {
            // What there is of a record must not go out on another connection.
            scratch.clear()
            isDead = true
        }
    }

    /// Sends a part of a buffer.
    mutating func write(
        _ buffer: borrowing Buffer,
        _ range: Range<Int>,
        _ scratch: inout Buffer,
        now: UInt64
    ) {
        write(buffer.bytes.extracting(range), &scratch, now: now)
    }

    /// Sends a whole buffer.
    mutating func write(_ buffer: borrowing Buffer, _ scratch: inout Buffer, now: UInt64) {
        write(buffer.bytes, &scratch, now: now)
    }

    private mutating func send(_ bytes: Span<UInt8>) {
        if bytes.isEmpty { return }
        guard out.isEmpty else {
            out.append(bytes)
            return
        }
        switch socket.send(bytes) {
        case .bytes(let count):
            if count < bytes.count { out.append(bytes.extracting(count..<bytes.count)) }
        case .wouldBlock: out.append(bytes)
        case .end, .failed: isDead = true
        }
    }

    mutating func sendCiphertext(_ ciphertext: inout Buffer) {
        if ciphertext.isEmpty { return }
        send(ciphertext.bytes)
        ciphertext.clear()
    }

    /// Sends what had to wait for the connection.
    mutating func sendEarly(_ scratch: inout Buffer, now: UInt64) {
        var waiting = Buffer()
        swap(&waiting, &early)
        write(waiting, &scratch, now: now)
        // Kept until a server that judges us only now has said something.
        if hasTLS {
            swap(&waiting, &replay)
            keepsSent = true
        }
        if isEnding { end(&scratch) }
    }

    /// Gives up all of a request that the server has not seen: its connection never stood, or had
    /// been used before and was ended without a byte of an answer.
    mutating func takeUnsent(_ buffer: inout Buffer) {
        if !early.isEmpty {
            swap(&buffer, &early)
        } else if !replay.isEmpty, isTurnedAway || hasAnswered, response.bodyBytes == 0 {
            swap(&buffer, &replay)
        }
    }

    /// Goes on sending what the kernel did not take.
    ///
    /// - Returns: Whether everything is sent.
    mutating func flush() -> Bool {
        while !out.isEmpty {
            switch socket.send(out.bytes) {
            case .bytes(let count): out.consume(count)
            case .wouldBlock: return false
            case .end, .failed:
                isDead = true
                return false
            }
        }
        out.release()
        settleEnd()
        return true
    }

    /// Ends our side when everything is sent; the peer may go on.
    mutating func end(_ scratch: inout Buffer) {
        isEnding = true
        guard isOpen, early.isEmpty, !isEnded else { return }
        if tls != nil {
            tls?.shutdown(output: &scratch)
            sendCiphertext(&scratch)
        }
        isEnded = true
        settleEnd()
    }

    private mutating func settleEnd() {
        if isEnded, out.isEmpty, !isDead { socket.shutdownWrite() }
    }

    /// Whether both directions of a stream have ended and everything is sent.
    var isThrough: Bool { hasPassedEnd && isEnded && !isBlocked }

    /// Whether something is on its way that ends with it.
    var isFinishing: Bool { isEnding && isBlocked }

    /// Makes the end of the connection look like the failure that it is.
    mutating func abort() {
        socket.resetOnClose()
        isAborted = true
        isDead = true
    }

    /// Says good-bye, if there is anybody who could understand it.
    mutating func sayGoodbye(_ scratch: inout Buffer) {
        guard isOpen, !isEnded, !isAborted, out.isEmpty, tls != nil else { return }
        tls?.shutdown(output: &scratch)
        sendCiphertext(&scratch)
    }

    // MARK: Reading

    /// Brings back what was not passed on last time.
    mutating func beginReading(_ scratch: inout Scratch) {
        scratch.plain.clear()
        scratch.cipherIn.clear()
        scratch.position = 0
        guard !held.isEmpty else { return }
        scratch.plain.append(held.bytes)
        held.release()
    }

    /// Keeps what was not passed on this time.
    mutating func endReading(_ scratch: inout Scratch) {
        if !isDead {
            let rest = scratch.position..<scratch.plain.count
            if !rest.isEmpty { held.append(scratch.plain, rest) }
            if !scratch.cipherIn.isEmpty {
                carry.append(scratch.cipherIn.bytes)
            } else if carry.isEmpty {
                carry.release()
            }
        }
        scratch.plain.clear()
        scratch.cipherIn.clear()
        scratch.position = 0
        scratch.shrink()
    }

    /// Whether something is at hand that no event will tell of.
    var hasMore: Bool { isReadable || !held.isEmpty || !carry.isEmpty }

    /// Adds plaintext to `scratch.plain`.
    mutating func read(_ scratch: inout Scratch, now: UInt64) -> Arrival {
        if hasEnded { return .end }
        if scratch.position == scratch.plain.count {
            scratch.plain.clear()
            scratch.position = 0
        }
        scratch.plain.reserve(TLSSession.recordBytesMax)
        guard tls != nil else { return readPlain(&scratch) }
        var hasRead = false
        while true {
            let step =
                carry.isEmpty
                ? tls?.read(
                    &scratch.cipherIn,
                    into: &scratch.plain,
                    output: &scratch.cipherOut,
                    now: now
                )
                : tls?.read(
                    &carry,
                    into: &scratch.plain,
                    output: &scratch.cipherOut,
                    now: now
                )
            sendCiphertext(&scratch.cipherOut)
            switch step {
            case .done:
                hasRead = true
                let isEmpty = scratch.cipherIn.isEmpty && carry.isEmpty
                if isEmpty || scratch.plain.room < TLSSession.recordBytesMax { return .bytes }
            case .wantsInput:
                if hasRead { return .bytes }
                if let arrival = fill(&scratch) { return arrival }
            case .end:
                hasEnded = true
                return hasRead ? .bytes : .end
            case .failed, nil: return hasRead ? .bytes : .failed
            }
        }
    }

    private mutating func readPlain(_ scratch: inout Scratch) -> Arrival {
        guard isReadable else { return .wouldBlock }
        let room = scratch.plain.room
        switch socket.receive(into: &scratch.plain) {
        case .bytes(let count):
            // A short read is the last one: the next event comes with new bytes.
            if count < room, !isEndNear { isReadable = false }
            return .bytes
        case .end:
            hasEnded = true
            return .end
        case .wouldBlock:
            isReadable = false
            return .wouldBlock
        case .failed: return .failed
        }
    }

    /// Adds ciphertext; nil if there is some.
    private mutating func fill(_ scratch: inout Scratch) -> Arrival? {
        guard isReadable else { return .wouldBlock }
        scratch.cipherIn.clear()
        let room = scratch.cipherIn.room
        switch socket.receive(into: &scratch.cipherIn) {
        case .bytes(let count):
            if count < room, !isEndNear { isReadable = false }
            return nil
        case .wouldBlock:
            isReadable = false
            return .wouldBlock
        // Without the peer's word (close_notify) somebody may have cut it off.
        case .end, .failed: return .failed
        }
    }

    /// Reads and forgets, outside of the scratch memory of whoever is reading.
    mutating func throwAway() -> Arrival {
        held.release()
        carry.release()
        guard !hasEnded else { return .end }
        guard isReadable else { return .wouldBlock }
        var bin = Buffer(capacity: TLSSession.recordBytesMax)
        switch socket.receive(into: &bin) {
        case .bytes: return .bytes
        case .wouldBlock:
            isReadable = false
            return .wouldBlock
        case .end:
            hasEnded = true
            return .end
        case .failed: return .failed
        }
    }

    // MARK: Handshake

    /// Goes on with the handshake.
    ///
    /// - Returns: `.bytes` when it is done.
    mutating func shakeHands(
        _ scratch: inout Scratch,
        _ requirements: PeerRequirements,
        now: Date
    ) -> Arrival {
        while true {
            let step =
                carry.isEmpty
                ? tls?.handshake(
                    &scratch.cipherIn,
                    output: &scratch.cipherOut,
                    requirements: requirements,
                    now: now
                )
                : tls?.handshake(
                    &carry,
                    output: &scratch.cipherOut,
                    requirements: requirements,
                    now: now
                )
            sendCiphertext(&scratch.cipherOut)
            switch step {
            case .done:
                isHandshaking = false
                return .bytes
            case .wantsInput: if let arrival = fill(&scratch) { return arrival }
            case .end, .failed, nil: return .failed
            }
        }
    }

    /// Has a poller tell of the socket.
    func add(to poller: borrowing Poller, _ key: Key) throws(SystemError) {
        try poller.add(socket, key)
    }

    /// Why the TLS session failed.
    var failure: TLSFailure? {
        switch tls {
        case .some(let session): session.failure
        case .none: nil
        }
    }

    // MARK: The socket

    var pendingError: SystemError? { socket.pendingError() }
}
