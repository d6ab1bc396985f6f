// SPDX-License-Identifier: Apache-2.0

internal import ContainersPreview
internal import HTTPCodec
internal import HTTPSemantics
internal import Reactor

/// The server's side of HTTP: reads answers and passes them on.
extension Loop {
    /// Goes on with a server's answer as far as its bytes and the client's readiness allow.
    mutating func pumpAnswer(_ key: Key, _ server: inout Connection) {
        guard !server.other.isNone else {
            // Nobody has asked: an end, or bytes that belong to nothing.
            server.beginReading(&scratch)
            if server.read(&scratch, now: now) != .wouldBlock { server.isDead = true }
            server.endReading(&scratch)
            return
        }
        let client = server.other
        guard var held = slab.checkOut(client) else {
            server.isDead = true
            return
        }
        relayAnswer(key, &server, client, &held.value)
        // Whom it was for has gone: nothing else would tell the server's side.
        if held.value.isDead { server.isDead = true }
        settle(client, held)
    }

    private mutating func relayAnswer(
        _ key: Key,
        _ server: inout Connection,
        _ clientKey: Key,
        _ client: inout Connection
    ) {
        guard client.out.isEmpty, !client.isDead else { return }
        server.beginReading(&scratch)
        var steps = 0
        // A head waits for the next step, so that it leaves together with the body behind it.
        var isHeadWaiting = false
        steps: while !server.isDead, !client.isDead {
            let step = Self.next(scratch.plain, scratch.position, &server, &scratch.response)
            if isHeadWaiting {
                isHeadWaiting = false
                passHead(&client, with: step)
                if case .body(let bytes) = step, bytes <= Self.togetherBytes {
                    if !client.out.isEmpty { break }
                    continue
                }
            }
            switch step {
            case .needInput:
                guard readMore(key, &server, &client) else { break steps }
                continue
            case .interim(let bytes):
                writeHead(&server, bytes)
                isHeadWaiting = true
                continue
            case .head(let bytes):
                writeHead(&server, bytes)
                isHeadWaiting = true
                client.exchange.status = scratch.response.status
                client.exchange.hasAnswer = true
                arm(.stall, &client, limits.stall)
                continue
            case .body(let bytes): passBody(&server, &client, bytes)
            case .skipped(let bytes): scratch.position += bytes
            case .complete:
                answerIsThrough(key, &server, clientKey, &client)
                break steps
            case .upgraded(let bytes):
                isHeadWaiting = upgrade(&server, &client, bytes)
                continue
            case .refused:
                server.reason = .answerRefused
                server.isDead = true
            case .closed: server.isDead = true
            }
            if !client.out.isEmpty { break }
            steps += 1
            if steps >= Self.stepsMax {
                queue(key, &server)
                break
            }
        }
        server.endReading(&scratch)
    }

    private static func next(
        _ plain: borrowing Buffer,
        _ position: Int,
        _ server: inout Connection,
        _ head: inout ResponseHead
    ) -> ResponseStep {
        server.response.next(plain.bytes, from: position, using: &head)
    }

    /// - Returns: Whether there are more bytes.
    private mutating func readMore(
        _ key: Key,
        _ server: inout Connection,
        _ client: inout Connection
    ) -> Bool {
        switch server.read(&scratch, now: now) {
        case .bytes:
            progress(&client)
            if !server.hasAnswered { serverHasAnswered(&server) }
            if !server.replay.isEmpty { server.replay.clear() }
            return true
        case .wouldBlock: return false
        case .end: return serverHasEnded(&server, &client)
        case .failed:
            if wasTurnedAway(&server) { return false }
            // A connection that is cut off without a word, TLS or not.
            _ = server.response.inputEnded()
            server.reason = .serverEnded
            server.isDead = true
            return false
        }
    }

    /// - Returns: Whether the relay has something to say still.
    private mutating func serverHasEnded(
        _ server: inout Connection,
        _ client: inout Connection
    ) -> Bool {
        switch server.response.inputEnded() {
        case .complete:
            finishAnswer(&server, &client)
            server.isDead = true
        case .tunnel:
            client.end(&scratch.cipherOut)
            // Both sides have ended, and their last bytes are sent.
            if client.hasEnded, !client.isBlocked, !server.isBlocked {
                client.isDead = true
                server.isDead = true
            } else if server.hasFailed() {
                server.reason = .serverEnded
                server.isDead = true
            }
        case .idle, .unanswered, .truncated:
            server.reason = .serverEnded
            server.isDead = true
        }
        return false
    }

    /// Rewrites a head into `scratch.head`.
    private mutating func writeHead(_ server: inout Connection, _ bytes: Int) {
        scratch.head.clear()
        let rewrite =
            listening[server.place].isInbound
            ? responseRewrites.fromApplication : responseRewrites.fromProxy
        Self.write(
            rewrite,
            scratch.response,
            scratch.plain,
            scratch.position,
            server.response,
            &scratch.head
        )
        scratch.position += bytes
    }

    /// Sends the head in `scratch.head`, with the body of the step behind it if that is small.
    private mutating func passHead(_ client: inout Connection, with step: ResponseStep) {
        if case .body(let bytes) = step, bytes <= Self.togetherBytes {
            let range = scratch.position..<(scratch.position + bytes)
            scratch.position += bytes
            scratch.head.append(scratch.plain, range)
            progress(&client)
        }
        client.write(scratch.head, &scratch.cipherOut, now: now)
        client.exchange.bytesOut &+= UInt64(scratch.head.count)
        counters.bytesOut &+= UInt64(scratch.head.count)
    }

    /// A body up to this size is copied behind its head, so that one system call sends both.
    static let togetherBytes = 32 * 1024

    private static func write(
        _ rewrite: ResponseRewrite,
        _ head: borrowing ResponseHead,
        _ plain: borrowing Buffer,
        _ start: Int,
        _ relay: borrowing ResponseRelay,
        _ output: inout Buffer
    ) {
        let span = plain.bytes
        rewrite.write(head, span.extracting(start...), for: relay, into: &output)
    }

    private mutating func passBody(
        _ server: inout Connection,
        _ client: inout Connection,
        _ bytes: Int
    ) {
        let range = scratch.position..<(scratch.position + bytes)
        scratch.position += bytes
        client.write(scratch.plain, range, &scratch.cipherOut, now: now)
        client.exchange.bytesOut &+= UInt64(bytes)
        counters.bytesOut &+= UInt64(bytes)
        progress(&client)
    }

    /// - Returns: Whether it became one, and its head is to be sent.
    private mutating func upgrade(
        _ server: inout Connection,
        _ client: inout Connection,
        _ bytes: Int
    ) -> Bool {
        guard client.request.upgraded() else {
            server.reason = .answerRefused
            server.isDead = true
            return false
        }
        client.exchange.status = 101
        client.exchange.hasAnswer = true
        writeHead(&server, bytes)
        arm(.stream, &client, limits.streamIdle)
        // No event tells of what it has sent meanwhile.
        if client.hasMore || client.hasEnded { queue(server.other, &client) }
        return true
    }

    /// The answer is whole: both connections are for the next request, or end.
    private mutating func answerIsThrough(
        _ key: Key,
        _ server: inout Connection,
        _ clientKey: Key,
        _ client: inout Connection
    ) {
        finishAnswer(&server, &client)
        if client.waiting == .request, client.hasMore { queue(clientKey, &client) }
        if server.response.isServerReusable, isSilent(&server) {
            server.exchange.earlierIn &+= client.exchange.bytesOut
            server.exchange.earlierOut &+= client.exchange.bytesIn
            server.carried &+= 1
            pool(key, &server)
        } else {
            server.isDead = true
        }
    }

    private mutating func finishAnswer(_ server: inout Connection, _ client: inout Connection) {
        server.other = .none
        client.other = .none
        finishExchange(&client, .none)
        let keeps =
            switch server.response.clientConnection {
            case .stays, .staysTold: true
            case .ends, .upgrades: false
            }
        if client.request.answerEnded(keepsConnection: keeps) {
            arm(.request, &client, idle)
        } else {
            linger(&client)
        }
    }

    /// Ends our side and waits a little for the client's, so that what it still sends does not
    /// destroy the answer on its way (RFC 9112 section 9.6).
    mutating func linger(_ client: inout Connection) {
        guard !client.isLingering else { return }
        client.isLingering = true
        client.end(&scratch.cipherOut)
        arm(.stall, &client, limits.stall)
        lingerOn(&client)
    }

    /// Throws away what a client still sends.
    mutating func lingerOn(_ client: inout Connection) {
        // Until its answer is sent the client has as long as anybody who is sent something.
        if client.waiting == .stall, client.out.isEmpty { arm(.linger, &client, limits.linger) }
        // Not in the scratch of a chain of calls that is under way.
        var thrown = 0
        let most = 1 << 20
        while !client.isDead, thrown < most {
            switch client.throwAway() {
            case .bytes: thrown += TLSSession.recordBytesMax
            case .wouldBlock: return
            case .end:
                // It may have ended its side long ago, and read its answer still.
                if client.out.isEmpty { client.isDead = true }
                return
            case .failed:
                client.isDead = true
                return
            }
        }
        client.isDead = true
    }
}
