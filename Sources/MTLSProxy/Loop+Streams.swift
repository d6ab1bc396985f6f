// SPDX-License-Identifier: Apache-2.0

internal import Authorization
internal import ContainersPreview
internal import HTTPSemantics
internal import Reactor
internal import Routing

/// TCP streams: decided once, then bytes go both ways, and each side ends by itself.
extension Loop {
    /// Decides about a connection of which nothing more will be known.
    ///
    /// - Returns: Whether it goes on.
    mutating func admitStream(
        _ key: Key,
        _ client: inout Connection,
        _ route: InboundRoute
    ) -> Bool {
        let decision = route.policies.decide(client.access)
        client.exchange.decision = decision
        client.exchange.revision = revision
        client.exchange.decisionNumber = decisionCount
        decisionCount &+= 1
        client.exchange.started = now
        client.exchange.isActive = true
        guard decision.isAllowed else {
            end(&client, .denied)
            return false
        }
        beginStream(key, &client)
        return !client.isDead
    }

    /// Opens the other side.
    mutating func beginStream(_ key: Key, _ client: inout Connection) {
        client.exchange.isActive = true
        client.exchange.started = now
        client.exchange.attempts = 1
        arm(.stream, &client, limits.streamIdle)
        // Who answers on an outbound listener is known when the connection to it stands.
        if listening[client.place].isInbound { countStream(&client) }
        if let reason = reachServer(key, &client) { end(&client, reason) }
    }

    /// Passes on what has come from one side of a stream.
    mutating func pumpStream(_ key: Key, _ from: inout Connection) {
        if from.isThrough { from.isDead = true }
        guard from.isOpen, !from.isDead else { return }
        let toKey = from.other
        guard var held = slab.checkOut(toKey) else {
            // Whose other side has gone properly sends what there is.
            if toKey.isNone, !from.isFinishing { from.isDead = true }
            return
        }
        guard !from.hasPassedEnd else {
            // What it has sent before its end goes out first.
            if !held.value.isFinishing, from.hasFailed() {
                cutOff(&from, &held.value)
            }
            settle(toKey, held)
            return
        }
        relay(key, &from, &held.value)
        let (isGone, wasThrough) = (held.value.isDead, held.value.isThrough)
        if isGone, !wasThrough, !from.isDead {
            if from.isDownstream {
                hearOut(&held.value)
                if held.value.reason == .serverUntrusted {
                    return settleServer(toKey, held, key, &from)
                }
                from.detail = serverName(held.value)
            } else if held.value.reason == .none {
                // What it was sent did not reach it.
                held.value.reason = .clientEnded
            }
        }
        settle(toKey, held)
        guard isGone, !from.isDead else { return }
        // It could not be told, being out: it sends what there is, or is cut off as the other was.
        from.other = .none
        if !wasThrough {
            end(&from, from.isDownstream ? .serverEnded : .clientEnded)
        } else if !from.isFinishing {
            from.isDead = true
        }
    }

    private mutating func relay(_ key: Key, _ from: inout Connection, _ to: inout Connection) {
        guard !to.isBlocked else { return }
        from.beginReading(&scratch)
        var steps = 0
        steps: while !from.isDead, !to.isDead {
            if scratch.plain.count > scratch.position {
                let range = scratch.position..<scratch.plain.count
                to.write(scratch.plain, range, &scratch.cipherOut, now: now)
                count(range.count, from: &from, to: &to)
                scratch.plain.clear()
                scratch.position = 0
            }
            if to.isBlocked { break }
            steps += 1
            if steps > Self.stepsMax {
                queue(key, &from)
                break
            }
            switch from.read(&scratch, now: now) {
            case .bytes:
                if !from.isDownstream, !from.hasAnswered { serverHasAnswered(&from) }
            case .wouldBlock: break steps
            case .end:
                from.hasPassedEnd = true
                to.end(&scratch.cipherOut)
                if from.isThrough { from.isDead = true }
                if to.isThrough { to.isDead = true }
                break steps
            case .failed:
                if !from.isDownstream, wasTurnedAway(&from) { break steps }
                cutOff(&from, &to)
            }
        }
        from.endReading(&scratch)
    }

    /// One side has failed: what is cut off must not look like an end on the other one.
    private mutating func cutOff(_ from: inout Connection, _ to: inout Connection) {
        end(&from, from.isDownstream ? .clientEnded : .serverEnded)
        if to.isDownstream {
            to.detail = detail(ofServer: from)
            end(&to, from.reason)
        } else {
            to.abort()
        }
    }

    private mutating func count(
        _ bytes: Int,
        from: inout Connection,
        to: inout Connection
    ) {
        arm(.stream, &from, limits.streamIdle)
        // Until it stands, reaching it has a limit of its own.
        if to.isOpen { arm(.stream, &to, limits.streamIdle) }
        if from.isDownstream {
            counters.bytesIn &+= UInt64(bytes)
            from.exchange.bytesIn &+= UInt64(bytes)
        } else {
            counters.bytesOut &+= UInt64(bytes)
            to.exchange.bytesOut &+= UInt64(bytes)
        }
    }
}
