// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import ControlAPI
internal import FoundationEssentials
internal import Logging
internal import NodeSync
internal import SPIFFE

/// Authorities for servers below this trust domain's, which are workloads of this node
/// (docs/decisions/0020-authorities-under-another.md, "Nested").
extension AgentCore {
    /// Who asks to be certified: a process that was attested.
    struct ServerBelow: Sendable {
        let pid: Int32
        let selectors: Set<Selector>
    }

    /// Has a key of a server below certified by the server above; nothing of it is kept.
    ///
    /// - Parameters:
    ///   - csr: DER of its PKCS #10 request.
    ///   - lifetimeSeconds: How long from now the certificate shall be valid.
    ///   - server: Who asks.
    ///   - places: What counts requests.
    /// - Returns: The chain, verified.
    /// - Throws: `DownstreamRefusal`.
    func certify(
        csr: [UInt8],
        lifetimeSeconds: Int64,
        for server: ServerBelow,
        places: DownstreamPlaces
    ) async throws(DownstreamRefusal) -> CertifiedAuthority {
        let entry = try downstreamEntry(of: server)
        // Before anything of the request is judged: what is refused counts too.
        try places.enter(entry: entry, now: clock.bootTime)
        defer { places.leave(entry: entry) }
        let request = try CertifyRequest(csr: csr, lifetimeSeconds: lifetimeSeconds)
        let chain = try await askToCertify(request, entry)
        let (bundle, now) = (ask { $0.bundle }, clock.wallTime)
        let authority: CertifiedAuthority
        do throws(DownstreamRefusal) {
            authority = try await CertifiedAuthority(
                checking: chain,
                for: request,
                in: bundle,
                now: now
            )
            guard ask({ $0.cache.standing(ofPath: authority.keyIDs) }) == nil else {
                throw .answerRefused("an authority of its path is tainted or revoked")
            }
        } catch {
            noteBadAnswer(error, entry)
            throw error
        }
        // The entry may have ended, or another one begun to mean the process, while the server was
        // asked.
        guard try downstreamEntry(of: server) == entry else { throw .entryChanged }
        logger.notice(
            "an authority of a server below was certified",
            metadata: [
                "entry": "\(entry)",
                "authority": "\(Hexadecimal.text(authority.keyIDs[0]))",
                "until": "\(authority.notAfter)",
            ]
        )
        return authority
    }

    private func downstreamEntry(of server: ServerBelow) throws(DownstreamRefusal) -> String {
        try ask { $0.downstreamStanding(of: server.selectors) }.entryID(pid: server.pid)
    }

    private func askToCertify(
        _ request: CertifyRequest,
        _ entry: String
    ) async throws(DownstreamRefusal) -> [[UInt8]] {
        let answer = ServerAnswer<[[UInt8]]>()
        send(request, entry, answer)
        switch await answer.value() {
        case .success(let chain): return chain
        case .failure(let error):
            throw error == ServerCall.serverAway ? .unavailable(error) : .above(error)
        }
    }

    /// Hands a call to the connection and keeps nothing of it.
    private func send(
        _ request: CertifyRequest,
        _ entry: String,
        _ answer: ServerAnswer<[[UInt8]]>
    ) {
        let call = CertifyCall(request, entryID: entry) { answer.finish($0) }
        if !callServer(.certify(call)) { call.finish(.failure(ServerCall.serverAway)) }
    }

    /// The operators of the server above have to know, not the server below alone.
    private func noteBadAnswer(_ refusal: DownstreamRefusal, _ entry: String) {
        logger.error(
            "the server's answer to a server below is not what it was asked for",
            metadata: ["entry": "\(entry)", "reason": "\(refusal.error.message)"]
        )
    }

    // MARK: - Streams of what is above

    /// Registers the stream of an attested process, to be forgotten by `forget`.
    func watchFromBelow(_ stream: WorkloadStream, selectors: Set<Selector>) -> SubscriberID {
        let id = register(stream)
        transition { $0.watchedFromBelow(id, selectors: selectors, now: $1, using: &$2) }
        return id
    }
}
