// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import Datastore
internal import FoundationEssentials
internal import Issuance
internal import Logging
internal import Telemetry

/// An authority that is in no bundle yet; its keys are in the vault.
struct AuthorityDraft: Sendable {
    let authority: Authority
    /// Its key for certificates, as it is found in the vault.
    let signer: any Signer
}

/// How the next authority is made: by this server alone, or with its upstream.
///
/// The keys are on disk before the bundle names them: a crash between leaves files without use, never
/// an authority without key.
extension RotationService {
    /// The next authority; nil while the upstream is being asked for it.
    ///
    /// - Throws: What making a key throws; `AuthorityError`.
    func draft() async throws -> AuthorityDraft? {
        let (logic, now) = (core.logic, core.clock.wallTime)
        guard core.upstream != nil else { return try await selfSigned(now: now) }
        let least = logic.lifetimes.longestSVID / .seconds(1)
        let end = now.addingTimeInterval(least * Double(UpstreamChain.lifetimePerSVIDMin))
        // A chain that was kept is of use as long as the next one would say the same.
        if let above = core.upstream?.above { core.upstreamDesk.dropChain(unlessBelow: above) }
        let certified = core.upstreamDesk.certified(from: now, until: end)
        // Nobody has signed with them since they were made, so that nobody noticed.
        guard let certified, await !dropLostCandidate() else {
            if core.upstreamDesk.candidate == nil {
                core.upstreamDesk.keep(try await candidate())
            }
            core.upstreamDesk.ask()
            return nil
        }
        return AuthorityDraft(
            authority: try Authority(
                certified.chain,
                serverID: logic.serverID,
                tokenKeySPKI: certified.candidate.tokenKeySPKI
            ),
            signer: certified.candidate.signer
        )
    }

    /// Has other keys made where those that wait for the upstream are lost, as by a service that was
    /// set back: nobody signs with them, and no admin could revoke what has them.
    ///
    /// - Returns: Whether they were; of keys that cannot be asked for nobody knows.
    func dropLostCandidate() async -> Bool {
        guard let candidate = core.upstreamDesk.candidate else { return false }
        let (id, spki) = (candidate.id, candidate.tokenKeySPKI)
        let areKept = try? await core.keys.apart {
            try $0.keepsKeys(of: id, tokenKeySPKI: spki)
        }
        guard areKept == false else { return false }
        core.upstreamDesk.drop(id)
        core.logger.error(
            "keys that waited for the upstream are lost where they were kept; others are made",
            metadata: ["authority": "\(id)"]
        )
        return true
    }

    private func selfSigned(now: Date) async throws -> AuthorityDraft {
        let logic = core.logic
        let (signer, tokenSigner) = try await keys()
        // In a service a signature waits for tasks: it must not wait on one of their threads.
        var authority = try await core.keys.apart { [randomness = core.randomness] _ in
            var generator = randomness
            return try Authority.selfSigned(
                trustDomain: logic.trustDomain,
                serverID: logic.serverID,
                lifetimes: logic.lifetimes,
                profile: logic.profiles[ProfileKind.root],
                signer: signer,
                now: now,
                using: &generator
            )
        }
        authority.tokenKeySPKI = tokenSigner.subjectPublicKeyInfo
        return AuthorityDraft(
            authority: authority,
            signer: try await keep(signer, tokenSigner, id: authority.id)
        )
    }

    /// Keys for the next authority, and what the upstream is asked for them.
    private func candidate() async throws -> UpstreamDesk.Candidate {
        let logic = core.logic
        let (signer, tokenSigner) = try await keys()
        // In a device a signature takes its time.
        let (csr, id) = try await core.keys.apart { _ in
            var generator = SystemRandomness()
            let csr = try AuthorityRequest.encoded(
                trustDomain: logic.trustDomain,
                serverID: logic.serverID,
                profile: logic.profiles[ProfileKind.authority],
                signer: signer,
                using: &generator
            )
            return (csr, try AuthorityRequest.keyID(of: signer))
        }
        return UpstreamDesk.Candidate(
            id: id,
            signer: try await keep(signer, tokenSigner, id: id),
            tokenKeySPKI: tokenSigner.subjectPublicKeyInfo,
            csr: csr
        )
    }

    private func keys() async throws -> (any Signer, any Signer) {
        try await core.keys.apart {
            (try $0.makeAuthorityKey(), try $0.makeAuthorityKey(for: .tokens))
        }
    }

    /// Keeps both keys of an authority.
    ///
    /// - Returns: The one for certificates as it is found again: in a token it has another name now.
    private func keep(
        _ signer: any Signer,
        _ tokenSigner: any Signer,
        id: String
    ) async throws -> any Signer {
        try await core.keys.apart { vault in
            try vault.keep(signer, authorityID: id)
            try vault.keep(tokenSigner, authorityID: id, for: .tokens)
            return try vault.signer(authorityID: id) ?? signer
        }
    }

    /// Publishes what was drafted.
    ///
    /// - Returns: What the rotation asks for next.
    /// - Throws: `APIError`; then it is in no bundle, and a draft of the upstream is kept.
    func publish(
        _ draft: AuthorityDraft,
        _ permit: @escaping ActPermit,
        _ rotation: inout AuthorityRotation
    ) async throws -> [AuthorityRotation.Action] {
        let authority = try await publish(draft, permit)
        await core.refreshTrust()
        core.logger.notice("authority published", metadata: ["authority": "\(authority.id)"])
        let now = core.clock.wallTime
        return rotation.prepared(authority, now: now)
            + rotation.published(id: authority.id, now: now)
    }

    private func publish(
        _ draft: AuthorityDraft,
        _ permit: @escaping ActPermit
    ) async throws -> Authority {
        let (logic, storage) = (core.logic, core.configuration.keyStorage)
        let roots = core.configuredRoots
        let now = core.clock.wallTime
        let list = try await core.keys.apart { _ in
            try ServerLogic.firstList(of: draft.authority, signedWith: draft.signer, now: now)
        }
        do {
            let published = try await core.write { transaction in
                let actor = try permit(transaction)
                return try logic.publish(
                    draft.authority,
                    below: roots,
                    list: list,
                    keptIn: storage,
                    by: actor,
                    now: now,
                    in: transaction
                )
            }
            core.upstreamDesk.published(published.id)
            core.metrics.increment(.revocationListsSigned)
            return published
        } catch {
            forgetChain(refusedBy: error)
            throw error
        }
    }

    /// What is above has changed since the upstream was asked: the same answer would be refused again.
    func forgetChain(refusedBy error: APIError) {
        if error.reason == APIError.upstreamRefused { core.upstreamDesk.dropChain() }
    }

    /// Makes and publishes the first authority, however long the upstream is away: agents and servers
    /// boot together, and a process that ends is started some times only.
    ///
    /// - Returns: The authority; nil if the clock is found to be behind meanwhile, with which nothing
    ///   can be made: who mends that needs the admin socket, and the rotation.
    /// - Throws: `CancellationError`, or what making and publishing throw.
    func prepareAtStart() async throws -> Authority? {
        while true {
            try Task.checkCancellation()
            if core.upstream != nil {
                if try await isClockBehind(core.clock.wallTime) { return nil }
                // Nobody has a key certified by a clock with which nothing may be published then.
                guard await core.isClockBelieved() else {
                    await core.judgeClock()
                    try await pauseAtStart()
                    continue
                }
                await core.settleRootsOrTell()
            }
            if let draft = try await draft() { return try await publish(draft, Self.schedule) }
            if case .failure? = core.upstreamDesk.takeOutcome() {
                try await pauseAtStart()
                continue
            }
            await answerAtStart()
            await core.rotationDesk.wait(
                until: core.clock.bootTime + Self.checkInterval,
                core.clock
            )
        }
    }

    /// Waits before something is tried again, whoever orders something meanwhile.
    private func pauseAtStart() async throws {
        let deadline = core.clock.bootTime + AuthorityRotation.retryDelay
        while core.clock.bootTime < deadline {
            try Task.checkCancellation()
            await answerAtStart()
            await core.rotationDesk.wait(until: deadline, core.clock)
        }
    }

    /// Answers who orders something while a start waits, which may take days: after a hold admins are
    /// served already.
    private func answerAtStart() async {
        let (orders, haveRecordsChanged) = core.rotationDesk.take()
        if haveRecordsChanged { core.rotationDesk.readLater() }
        for order in orders {
            guard case .acceptClock(let isNow) = order.step else {
                order.finish(
                    .failure(
                        APIError(
                            .unavailable,
                            "upstream",
                            "the server starts, and waits until the upstream certifies its first "
                                + "authority; signet health says what is wrong"
                        )
                    )
                )
                continue
            }
            // The rotation begins when the start ends, by the records of then.
            var rotation = AuthorityRotation(
                authorities: [],
                lifetimes: core.logic.lifetimes,
                hold: core.logic.hold
            )
            _ = await acceptClock(order, isNow: isNow, &rotation)
        }
    }

    /// What the upstream has said meanwhile: orders that wait for it are done, and the step of the
    /// schedule with them.
    ///
    /// - Returns: What the rotation asks for next.
    func upstreamAnswered(
        _ rotation: inout AuthorityRotation
    ) async -> [AuthorityRotation.Action] {
        guard let outcome = core.upstreamDesk.takeOutcome() else { return [] }
        let parked = core.rotationDesk.takeParked()
        switch outcome {
        case .failure(let error):
            let refusal = APIError(
                .unavailable,
                "upstream",
                "the upstream certifies no authority: \(error)"
            )
            for order in parked { order.finish(.failure(refusal)) }
            // What is asked for again meanwhile, without being due, puts no step off.
            guard rotation.isPreparing else { return [] }
            return rotation.stepFailed(.prepare, now: core.clock.wallTime)
        case .success:
            var actions: [AuthorityRotation.Action] = []
            for order in parked { actions += await serve(order, &rotation) }
            guard rotation.next == nil, rotation.isPreparing else {
                // Nobody waited for it, and until somebody does half its life may be over.
                if parked.isEmpty { core.upstreamDesk.dropChain() }
                return actions
            }
            return actions + (await perform(.prepare, &rotation))
        }
    }
}
