// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ContainersPreview
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor
internal import Routing

/// The client's side of HTTP: reads requests, decides, passes them on.
extension Loop {
    /// Goes on with a client's requests as far as its bytes and the server's readiness allow.
    mutating func pumpRequests(_ key: Key, _ client: inout Connection) {
        // One request at a time: the next one is read when the answer is through.
        if client.request.isComplete { watchForEnd(&client) }
        if client.isDead || client.request.isComplete || isBlocked(client.other) { return }
        if client.request.isIdle, !client.out.isEmpty { return }
        client.beginReading(&scratch)
        var steps = 0
        steps: while !client.isDead, !client.isLingering {
            switch Self.next(scratch.plain, scratch.position, &client, &scratch.request) {
            case .needInput:
                headMayHaveBegun(&client)
                guard readMore(key, &client) else { break steps }
                continue
            case .head(let bytes): beginExchange(key, &client, bytes)
            case .body(let bytes): passBody(key, &client, bytes)
            case .complete:
                requestIsThrough(&client)
                break steps
            case .refused(let refusal):
                refuseRequest(&client, refusal)
                break steps
            case .closed: break steps
            }
            if isBlocked(client.other) || !client.out.isEmpty { break }
            steps += 1
            if steps >= Self.stepsMax {
                queue(key, &client)
                break
            }
        }
        client.endReading(&scratch)
    }

    private static func next(
        _ plain: borrowing Buffer,
        _ position: Int,
        _ client: inout Connection,
        _ head: inout RequestHead
    ) -> RequestStep {
        client.request.next(plain.bytes, from: position, using: &head)
    }

    /// Whether a connection must not be written to for now.
    func isBlocked(_ key: Key) -> Bool {
        !key.isNone && slab.look(at: key) { $0.isBlocked } ?? false
    }

    /// Notices that a client leaves while its answer is on the way.
    private mutating func watchForEnd(_ client: inout Connection) {
        guard client.isReadable, client.held.isEmpty else { return }
        client.beginReading(&scratch)
        switch client.read(&scratch, now: now) {
        case .bytes, .wouldBlock: break
        // It may well have ended its side and still want the answer.
        case .end: _ = client.request.inputEnded()
        case .failed: end(&client, .clientEnded)
        }
        client.endReading(&scratch)
    }

    /// The first bytes of a head may have come behind the request before it, whose answer is
    /// through: it has no more time than one that comes by itself.
    private func headMayHaveBegun(_ client: inout Connection) {
        guard client.waiting == .request, !client.request.isIdle else { return }
        arm(.head, &client, limits.head)
    }

    /// - Returns: Whether there are more bytes.
    private mutating func readMore(_ key: Key, _ client: inout Connection) -> Bool {
        switch client.read(&scratch, now: now) {
        case .bytes:
            if client.request.isIdle { arm(.head, &client, limits.head) }
            progress(&client)
            return true
        case .wouldBlock: return false
        case .end:
            clientHasEnded(key, &client)
            return false
        case .failed:
            end(&client, .clientEnded)
            return false
        }
    }

    private mutating func clientHasEnded(_ key: Key, _ client: inout Connection) {
        switch client.request.inputEnded() {
        case .idle: end(&client, .none)
        case .truncated: end(&client, .clientEnded)
        case .answerOwed: requestIsThrough(&client)
        case .tunnel:
            if client.hasFailed() { return end(&client, .clientEnded) }
            guard var held = slab.checkOut(client.other) else { return }
            held.value.end(&scratch.cipherOut)
            // Both sides have ended, and their last bytes are sent.
            if held.value.hasEnded, !held.value.isBlocked, !client.isBlocked {
                held.value.isDead = true
                client.isDead = true
            }
            settle(client.other, held)
        }
    }

    // MARK: - A request

    private mutating func beginExchange(_ key: Key, _ client: inout Connection, _ bytes: Int) {
        counters.requests &+= 1
        note(&client, bytes)
        guard decide(&client) else {
            scratch.position += bytes
            return
        }
        if let reason = reachServer(key, &client) {
            scratch.position += bytes
            refuse(&client, .serviceUnavailable, reason)
            return
        }
        client.exchange.attempts = 1
        scratch.head.clear()
        rewrite(&client)
        scratch.position += bytes
        guard var held = slab.checkOut(client.other) else { return }
        guard held.value.response.begin(client.request.traits, isLast: isLast(client)) else {
            end(&held.value, .answerRefused)
            settleServer(client.other, held, key, &client)
            return
        }
        if held.value.isOpen, !client.request.traits.hasBody, client.request.traits.isRepeatable {
            held.value.replay.append(scratch.head.bytes)
        }
        arm(.stall, &client, limits.stall)
        let server = client.other
        sendHeadAndBody(&client, &held.value)
        settleServer(server, held, key, &client)
    }

    /// Sends the head together with what is there of the body, so that both leave at once.
    private mutating func sendHeadAndBody(
        _ client: inout Connection,
        _ server: inout Connection
    ) {
        let step = Self.next(scratch.plain, scratch.position, &client, &scratch.request)
        switch step {
        case .body(let bytes) where bytes <= Self.togetherBytes:
            let range = scratch.position..<(scratch.position + bytes)
            scratch.head.append(scratch.plain, range)
            scratch.position += bytes
            count(received: bytes, &client)
            server.write(scratch.head, &scratch.cipherOut, now: now)
        case .body(let bytes):
            server.write(scratch.head, &scratch.cipherOut, now: now)
            let range = scratch.position..<(scratch.position + bytes)
            server.write(scratch.plain, range, &scratch.cipherOut, now: now)
            scratch.position += bytes
            count(received: bytes, &client)
        case .refused(let refusal):
            server.isDead = true
            server.other = .none
            client.other = .none
            refuseRequest(&client, refusal)
        default: server.write(scratch.head, &scratch.cipherOut, now: now)
        }
        if client.request.isComplete {
            server.response.requestWritten()
            arm(.answer, &client, limits.answer)
        }
    }

    private mutating func passBody(_ key: Key, _ client: inout Connection, _ bytes: Int) {
        let range = scratch.position..<(scratch.position + bytes)
        scratch.position += bytes
        count(received: bytes, &client)
        progress(&client)
        guard var held = slab.checkOut(client.other) else { return }
        held.value.write(scratch.plain, range, &scratch.cipherOut, now: now)
        if client.request.isComplete { held.value.response.requestWritten() }
        settleServer(client.other, held, key, &client)
    }

    /// Until when the next byte has to move.
    ///
    /// A body that is never silent for long has to come at some rate all the same: a byte now and
    /// then would hold a place for as long as its client likes. Who has an answer already may be
    /// in a conversation.
    func stallDeadline(_ client: borrowing Connection) -> UInt64 {
        let silence = now &+ limits.stall
        guard !client.request.isComplete, !client.exchange.hasAnswer else { return silence }
        let earned = client.exchange.bytesIn &* 1_000 / max(1, limits.bodyBytesPerSecond)
        return min(silence, client.exchange.started &+ limits.stall &+ earned)
    }

    private mutating func count(received bytes: Int, _ client: inout Connection) {
        client.exchange.bytesIn &+= UInt64(bytes)
        counters.bytesIn &+= UInt64(bytes)
    }

    private mutating func requestIsThrough(_ client: inout Connection) {
        guard client.exchange.isActive, client.waiting == .stall || client.waiting == .head
        else { return }
        // An answer that has begun goes on as long as its bytes do.
        if !client.exchange.hasAnswer { arm(.answer, &client, limits.answer) }
        guard var held = slab.checkOut(client.other) else { return }
        held.value.response.requestWritten()
        settle(client.other, held)
    }

    /// Remembers what is needed of a request when its head is gone.
    private mutating func note(_ client: inout Connection, _ bytes: Int) {
        client.exchange.line.clear()
        let start = scratch.position
        let method = scratch.request.request.methodName.range
        let path = scratch.request.request.path.range
        client.exchange.line.append(
            scratch.plain,
            (start + method.lowerBound)..<(start + method.upperBound)
        )
        client.exchange.line.append(
            scratch.plain,
            (start + path.lowerBound)..<(start + path.upperBound)
        )
        client.exchange.methodBytes = method.count
        client.exchange.pathBytes = path.count
        client.exchange.forgetFields()
        client.exchange.method = scratch.request.request.method
        client.exchange.begin(now: now)
        client.exchange.bytesIn = UInt64(bytes)
        counters.bytesIn &+= UInt64(bytes)
    }

    /// Asks the policies.
    ///
    /// - Returns: Whether the request may go on; if not, it is answered.
    private mutating func decide(_ client: inout Connection) -> Bool {
        guard generation > 0,
            client.request.requestCount <= ProxyLimits.requestsPerConnectionMax
        else {
            refuse(&client, .serviceUnavailable, .draining)
            return false
        }
        guard listening[client.place].isInbound else {
            return client.judged == generation || judgeOwner(of: &client, listening[client.place])
        }
        guard let route = listening[client.place].inbound else {
            end(&client, .draining)
            return false
        }
        client.exchange.revision = revision
        client.exchange.decisionNumber = decisionCount
        decisionCount &+= 1
        // A request may come before its connection was judged by a new snapshot.
        if client.judged != generation {
            guard judgePeer(of: &client, route) else { return false }
        }
        guard client.certificateEnds >= wallNow else {
            refuse(&client, .forbidden, .aged)
            return false
        }
        let decision = Self.decision(
            route,
            client.access,
            scratch.request,
            scratch.plain,
            from: scratch.position
        )
        client.exchange.decision = decision
        guard decision.isAllowed else {
            refuse(&client, .forbidden, .denied)
            return false
        }
        remember(&client, for: route.policies)
        return true
    }

    /// Remembers what newer policies may ask about a request that is let through: its host, if it is
    /// known which one is meant, and the fields that policies ask for by now.
    private func remember(_ client: inout Connection, for policies: CompiledPolicySet) {
        let authority = scratch.request.request.authority
        if Self.isHostKnown(scratch.request, scratch.plain, from: scratch.position) {
            let host = keep(authority.host, in: &client)
            client.exchange.authority = Authority(host: host, port: authority.port)
        }
        client.exchange.knowsFields = true
        client.exchange.fieldNames = policies.headerNames
        guard !policies.headerNames.isEmpty else { return }
        for index in scratch.request.request.fields.indices {
            let field = scratch.request.request.fields[index]
            guard asks(policies, about: field.name) else { continue }
            let kept = HeaderField(
                name: keep(field.name, in: &client),
                value: keep(field.toRemember, in: &client),
                known: field.known
            )
            client.exchange.fields.append(kept)
        }
    }

    private func asks(_ policies: CompiledPolicySet, about name: ByteRange) -> Bool {
        let span = scratch.plain.bytes
        return policies.asks(about: name, in: span.extracting(scratch.position...))
    }

    private static func isHostKnown(
        _ head: borrowing RequestHead,
        _ plain: borrowing Buffer,
        from start: Int
    ) -> Bool {
        let span = plain.bytes
        return CompiledPolicySet.isHostKnown(
            of: head.request.authority,
            head.request.fields.span,
            span.extracting(start...)
        )
    }

    /// - Returns: Where it is in `Exchange.line`.
    private func keep(_ range: ByteRange, in client: inout Connection) -> ByteRange {
        let (start, from) = (client.exchange.line.count, scratch.position)
        guard !range.isEmpty else { return .empty }
        client.exchange.line.append(
            scratch.plain,
            (from + range.range.lowerBound)..<(from + range.range.upperBound)
        )
        return ByteRange(start..<client.exchange.line.count)
    }

    private static func decision(
        _ route: InboundRoute,
        _ access: borrowing PeerAccess,
        _ head: borrowing RequestHead,
        _ plain: borrowing Buffer,
        from start: Int
    ) -> Decision {
        let span = plain.bytes
        return route.policies.decide(access, head.request, in: span.extracting(start...))
    }

    private mutating func rewrite(_ client: inout Connection) {
        let id = RequestID(high: random.next(), low: random.next())
        guard let rewrite = client.requestRewrite else { return }
        Self.write(rewrite, scratch.request, scratch.plain, scratch.position, id, &scratch.head)
    }

    private static func write(
        _ rewrite: RequestRewrite,
        _ head: borrowing RequestHead,
        _ plain: borrowing Buffer,
        _ start: Int,
        _ id: RequestID,
        _ output: inout Buffer
    ) {
        let span = plain.bytes
        rewrite.write(head, span.extracting(start...), requestID: id, into: &output)
    }

    // MARK: - Refusing

    /// Whether a client's connection gets no further request after this answer.
    mutating func isLast(_ client: borrowing Connection) -> Bool {
        isDraining || client.certificateEnds < wallNow || !listening[client.place].isActive
            || now >= client.since &+ limits.connectionAge
            || client.request.requestCount >= ProxyLimits.requestsPerConnectionMax
    }

    private mutating func refuseRequest(_ client: inout Connection, _ refusal: HTTPRefusal) {
        if client.exchange.isActive, client.exchange.hasAnswer {
            end(&client, .requestRefused)
            return
        }
        if !client.exchange.isActive { beginRefusal(&client) }
        refuse(&client, GeneratedStatus(refusal), .requestRefused, refusal)
    }

    /// Begins the exchange of a request that is refused before its head is there: nothing of the
    /// one before it is told of it.
    mutating func beginRefusal(_ client: inout Connection) {
        client.exchange.line.clear()
        client.exchange.methodBytes = 0
        client.exchange.pathBytes = 0
        client.exchange.forgetFields()
        client.exchange.method = .other
        client.exchange.begin(now: now)
        client.exchange.revision = revision
    }

    /// Answers in the server's place, and gives the request up.
    ///
    /// Whoever is not reading the client's requests at the time names it by `key`.
    mutating func refuse(
        _ client: inout Connection,
        _ status: GeneratedStatus,
        _ reason: ProxyReason,
        _ refusal: HTTPRefusal? = nil,
        resuming key: Key = .none
    ) {
        let (server, keeps) = (client.other, mayStay(client))
        client.other = .none
        if !server.isNone, var held = slab.checkOut(server) {
            held.value.other = .none
            held.value.isDead = true
            settle(server, held)
        }
        // What was allowed and came to nothing is no matter of policies.
        let isDenied = client.exchange.decision.map { !$0.isAllowed } ?? false
        let id = isDenied ? decisionID(client) : nil
        let isTen = client.request.traits.isVersion10
        scratch.head.clear()
        answers.write(
            status,
            to: client.request.traits,
            refusal: refusal,
            decision: id,
            connection: keeps ? (isTen ? .staysTold : .stays) : .ends,
            into: &scratch.head
        )
        client.write(scratch.head, &scratch.cipherOut, now: now)
        client.exchange.hasAnswer = true
        client.exchange.status = status.code
        client.exchange.bytesOut &+= UInt64(scratch.head.count)
        counters.bytesOut &+= UInt64(scratch.head.count)
        counters.count(reason)
        finishExchange(&client, reason)
        if client.request.answerEnded(keepsConnection: keeps) {
            arm(.request, &client, idle)
            // The next request may be there already.
            if !key.isNone, client.hasMore { queue(key, &client) }
        } else {
            linger(&client)
        }
    }

    private mutating func mayStay(_ client: borrowing Connection) -> Bool {
        client.request.isComplete && client.request.traits.isKeptAlive && !isLast(client)
    }

    /// The ID of the decision about the request at hand.
    func decisionID(_ client: borrowing Connection) -> DecisionID {
        DecisionID(
            instance: instance,
            revision: client.exchange.revision,
            worker: worker,
            count: client.exchange.decisionNumber
        )
    }
}

extension RequestTraits {
    var hasBody: Bool { framing != .none }

    /// Whether a server that has seen it does no more than one that sees it a second time
    /// (RFC 9110 section 9.2.2), so that it may be sent again.
    var isRepeatable: Bool {
        switch method {
        case .get, .head, .options, .put, .delete, .trace: !wantsWebSocket
        case .connect, .other, .patch, .post: false
        }
    }
}

extension HeaderField {
    /// What is kept of its value: of a secret only whether it says anything.
    fileprivate var toRemember: ByteRange {
        switch known {
        case .authorization, .cookie, .proxyAuthorization:
            ByteRange(value.range.prefix(1))
        default: value
        }
    }
}
