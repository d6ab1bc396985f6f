// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics
package import SPIFFE

/// Policies that hold for one workload, indexed so that a decision looks only at rules that could
/// match (docs/decisions/0008).
///
/// It decides as `ReferenceEvaluator` does, over the bytes of a request: nothing is allocated and no
/// reference is counted on the way of a request. It is built and released off the loops.
///
/// Every pair of a rule and one of its operations is a *clause*, in the order in which verdicts are
/// looked for: guardrails, DENY, ALLOW, each by namespace, name and rule. A condition is a set of
/// clauses, and the first clause that is in all of them decides.
package struct CompiledPolicySet: Sendable {
    /// Most clauses of a workload: a decision that has to look at all of them still takes a few
    /// microseconds, and the tables some tens of megabytes.
    package static let clausesMax = 1 << 18

    /// Most values of a workload that are looked at late, of its own namespace and as many of the
    /// root's, so that neither fills the other's place: hosts, templates and conditions are compared one
    /// by one, and a decision that has to look at all of them takes some milliseconds.
    package static let lateCostMax = 1 << 14

    /// Where a clause comes from, and what it decides.
    struct Origin: Hashable, Sendable, BitwiseCopyable {
        let policy: UInt32
        let rule: UInt32
        let reason: Decision.Reason
    }

    /// What a clause asks of methods that have no number of their own.
    struct OtherMethods: Sendable {
        /// nil: all.
        let anyOf: [[UInt8]]?
        let noneOf: [[UInt8]]
    }

    /// The policies in the order of their names; a `Decision` numbers them so.
    package let policies: [AccessPolicy]
    let fingerprint: Int
    let origins: [Origin]
    let blockCount: Int
    /// Clauses of policies that are enforced, not only in shadow.
    let enforced: [SIMD8<UInt64>]
    /// For each method its clauses; `other` has all that could hold for one.
    let methods: [SIMD8<UInt64>]
    /// Clauses that ask for a method without number by name.
    let namesMethod: [SIMD8<UInt64>]
    let otherMethods: [Int: OtherMethods]
    /// Clauses that hold for a connection of which nothing more is known.
    let connection: [SIMD8<UInt64>]
    let lists: ClauseLists
    let paths: PathIndex
    /// The list of clauses that take every path but what they exclude.
    let anyPath: UInt32
    /// Clauses that exclude paths.
    let excludesPaths: [SIMD8<UInt64>]
    /// For each clause what it asks of the path.
    let pathFields: [AccessField<PathPattern>]
    /// The list of clauses of rules without sources.
    let everybody: UInt32
    /// Those of them that deny: an ALLOW admits a peer of another trust domain only by name.
    let everybodyDenied: UInt32
    let sources: SourceIndex
    /// Fields about ports, with the lists of their clauses.
    let ports: [(field: AccessField<UInt16>, clauses: UInt32)]
    /// Fields about the name that was asked for in the handshake, with the lists of their clauses.
    let serverNames: [(field: ServerNameField, clauses: UInt32)]
    /// What is asked of what has passed all the rest.
    let late: LateConditions
    /// Clauses that ask for something late.
    let looksLate: [SIMD8<UInt64>]
    /// The fields of a request that rules ask about, in small letters: whoever judges again must
    /// remember them.
    package let headerNames: Set<String>

    /// A field about the name of the handshake, and whether what is not known matches it.
    struct ServerNameField: Hashable, Sendable {
        let field: AccessField<HostPattern>
        let isAllow: Bool
    }

    // MARK: - Once for a connection

    /// What holds for whoever has connected.
    ///
    /// - Parameters:
    ///   - peer: The verified peer; nil if it showed no certificate.
    ///   - trustDomain: The workload's.
    ///   - address: The other end of the connection.
    ///   - port: The workload's port.
    ///   - serverName: What the client asked for in the handshake; nil if it is not known, and for a
    ///     connection that has requests of HTTP.
    /// - Returns: What to give to `decide` for every request of the connection.
    package func access(
        of peer: SPIFFEID?,
        in trustDomain: TrustDomain,
        at address: IPAddress,
        port: UInt16,
        serverName: RequestedHost? = nil
    ) -> PeerAccess {
        let isForeign = peer.map { $0.trustDomain != trustDomain } ?? false
        var clauses = [SIMD8<UInt64>](repeating: .zero, count: blockCount)
        let isReserved = peer?.isReserved ?? false
        if !isReserved {
            lists.unite(isForeign || peer == nil ? everybodyDenied : everybody, into: &clauses)
            sources.forEachMatch(of: peer, isForeign: isForeign, at: address) {
                lists.unite($0, into: &clauses)
            }
            for (field, number) in ports where !Self.matches(field, port) {
                lists.subtract(number, from: &clauses)
            }
            for (field, number) in serverNames where !Self.matches(field, serverName) {
                lists.subtract(number, from: &clauses)
            }
        }
        return PeerAccess(fingerprint: fingerprint, isReserved: isReserved, clauses: clauses)
    }

    private static func matches(_ field: AccessField<UInt16>, _ port: UInt16) -> Bool {
        field.anyOf?.contains(port) ?? true && !(field.noneOf?.contains(port) ?? false)
    }

    private static func matches(_ asked: ServerNameField, _ name: RequestedHost?) -> Bool {
        guard let name else { return !asked.isAllow }
        return asked.field.anyOf?.contains { $0.matches(name) == true } ?? true
            && !(asked.field.noneOf?.contains { $0.matches(name) == true } ?? false)
    }

    /// Whether a rule asks about the field with this name.
    package func asks(about name: ByteRange, in head: Span<UInt8>) -> Bool {
        headerNames.contains { head.holdsLowercased(Array($0.utf8), at: name) }
    }
    /// Whether a rule asks about the name of the handshake.
    package var asksServerName: Bool { !serverNames.isEmpty }

    // MARK: - Decisions

    /// Decides about a connection of which nothing more will be known.
    ///
    /// - Parameter access: What this set says of the connection's peer.
    /// - Returns: The verdicts, and which rules made them.
    package func decide(_ access: PeerAccess) -> Decision {
        if let refusal = refusal(access) { return refusal }
        var first = First()
        forEachBlock(of: access) { place, clauses in
            // What is asked late is not known of it, which `connection` has taken into account.
            first.note(clauses & connection[place], enforced[place], at: place)
        }
        return decision(first)
    }

    /// Decides about a request.
    ///
    /// - Parameters:
    ///   - access: What this set says of the connection's peer.
    ///   - request: The request, as the codec read it.
    ///   - head: What it was read from.
    ///   - knowsFields: Whether the request has its fields still; its host is not known if the
    ///     authority is empty.
    /// - Returns: The verdicts, and which rules made them.
    package func decide(
        _ access: borrowing PeerAccess,
        _ request: borrowing CanonicalRequest,
        in head: Span<UInt8>,
        knowsFields: Bool = true
    ) -> Decision {
        if let refusal = refusal(access) { return refusal }
        // Nothing holds for the peer whatever it asks for.
        guard !access.blocks.isEmpty else { return decision(First()) }
        let hits = paths.hits(head, request.path)
        let fields = request.fields.span
        let isHostKnown =
            !late.asksHosts
            || Self.isHostKnown(of: request.authority, knowsFields ? fields : Span(), head)
        let asked = Asked(
            row: Int(request.method.rawValue) * blockCount,
            methodName: request.methodName,
            late: LateConditions.Asked(
                path: request.path,
                authority: isHostKnown ? request.authority : Authority(host: .empty, port: nil),
                knowsFields: knowsFields
            )
        )
        guard !hits.isFull else { return slowly(access, asked, fields, head) }
        var first = First()
        look(at: anyPath, access, asked, fields, head, hits, &first)
        for index in 0..<hits.positiveCount {
            look(at: hits.positive[index], access, asked, fields, head, hits, &first)
        }
        return decision(first)
    }

    /// Whether it is known which host a request means: it names no address, and no field of it that
    /// servers take for another Host names another one.
    package static func isHostKnown(
        of authority: Authority,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>
    ) -> Bool {
        !HostForm.isAddress(head, authority.host)
            && !ForwardedHost.contradicts(authority, fields, head)
    }

    /// What is looked up of a request, but for its fields and bytes.
    private struct Asked {
        /// Where its method's clauses begin in `methods`.
        let row: Int
        let methodName: ByteRange
        let late: LateConditions.Asked
    }

    @inline(__always)
    private func refusal(_ access: borrowing PeerAccess) -> Decision? {
        // Bits of one set mean nothing in another.
        let reason: Decision.Reason
        if access.fingerprint != fingerprint {
            reason = .otherSet
        } else if access.isReserved {
            reason = .reservedPeer
        } else {
            return nil
        }
        return Decision(enforced: Decision.Outcome(reason), shadow: Decision.Outcome(reason))
    }

    /// The first clauses found so far.
    private struct First {
        var shadow = Int.max
        var enforced = Int.max
        var memo = LateConditions.Memo()

        /// Takes the clauses of one block that match and decide.
        @inline(__always)
        mutating func note(_ clauses: SIMD8<UInt64>, _ mask: SIMD8<UInt64>, at place: Int) {
            guard let clause = ClauseSet.first(of: clauses, at: place) else { return }
            shadow = min(shadow, clause)
            if let clause = ClauseSet.first(of: clauses & mask, at: place) {
                enforced = min(enforced, clause)
            }
        }

        /// Whether nothing from this block on could come before what was found.
        @inline(__always)
        func isSettled(at place: Int) -> Bool { place * ClauseSet.blockSize > enforced }
    }

    private func decision(_ first: First) -> Decision {
        Decision(enforced: outcome(first.enforced), shadow: outcome(first.shadow))
    }

    private func outcome(_ clause: Int) -> Decision.Outcome {
        guard clause < origins.count else { return Decision.Outcome(.noMatch) }
        let origin = origins[clause]
        return Decision.Outcome(origin.reason, policy: origin.policy, rule: origin.rule)
    }

    /// Looks at the clauses of one list.
    @inline(__always)
    private func look(
        at number: UInt32,
        _ access: borrowing PeerAccess,
        _ asked: Asked,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>,
        _ hits: PathIndex.Hits,
        _ first: inout First
    ) {
        let row = asked.row
        let list = lists.lists[Int(number)]
        let start = Int(list.start)
        guard !list.isDense else {
            var index = 0
            for group in 0..<access.summary.count {
                var open = access.summary[group]
                while open != 0 {
                    let place = group * 64 + open.trailingZeroBitCount
                    guard !first.isSettled(at: place) else { return }
                    let clauses =
                        access.blocks[index] & lists.dense[start + place] & methods[row + place]
                    if clauses != .zero {
                        let left = remaining(
                            clauses,
                            place,
                            asked,
                            fields,
                            head,
                            hits,
                            &first.memo
                        )
                        first.note(left, enforced[place], at: place)
                    }
                    open &= open - 1
                    index += 1
                }
            }
            return
        }
        for index in start..<(start + Int(list.count)) {
            let place = Int(lists.places[index])
            guard !first.isSettled(at: place) else { return }
            let clauses = access.block(at: place) & lists.blocks[index] & methods[row + place]
            guard clauses != .zero else { continue }
            let left = remaining(
                clauses,
                place,
                asked,
                fields,
                head,
                hits,
                &first.memo
            )
            first.note(left, enforced[place], at: place)
        }
    }

    /// What is left of clauses when the paths that they exclude, the names of methods and what is
    /// asked late are looked at.
    private func remaining(
        _ clauses: SIMD8<UInt64>,
        _ place: Int,
        _ asked: Asked,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>,
        _ hits: PathIndex.Hits,
        _ memo: inout LateConditions.Memo
    ) -> SIMD8<UInt64> {
        var left = clauses
        if hits.negativeCount > 0, left & excludesPaths[place] != .zero {
            for index in 0..<hits.negativeCount {
                left &= ~lists.block(hits.negative[index], at: place)
            }
        }
        if isOther(asked), left & namesMethod[place] != .zero {
            left = namedMethod(left, place, asked.methodName, head)
        }
        guard left & looksLate[place] != .zero else { return left }
        return passing(left, place, asked, fields, head, &memo)
    }

    private func isOther(_ asked: Asked) -> Bool {
        asked.row == Int(HTTPMethod.other.rawValue) * blockCount
    }

    /// The clauses of `clauses` that what is asked late lets through.
    private func passing(
        _ clauses: SIMD8<UInt64>,
        _ place: Int,
        _ asked: Asked,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>,
        _ memo: inout LateConditions.Memo
    ) -> SIMD8<UInt64> {
        var left = clauses
        let open = clauses & looksLate[place]
        for lane in 0..<8 {
            var bits = open[lane]
            while bits != 0 {
                let clause =
                    place * ClauseSet.blockSize + lane * 64 + bits.trailingZeroBitCount
                bits &= bits - 1
                let isAllow = origins[clause].reason == .allowed
                if !late.hold(clause, isAllow: isAllow, asked.late, fields, head, &memo) {
                    ClauseSet.remove(clause, from: &left)
                }
            }
        }
        return left
    }

    /// The clauses of `clauses` that hold for a method without number.
    private func namedMethod(
        _ clauses: SIMD8<UInt64>,
        _ place: Int,
        _ name: ByteRange,
        _ head: Span<UInt8>
    ) -> SIMD8<UInt64> {
        var left = clauses
        forEachClause(of: clauses & namesMethod[place], at: place) { clause in
            guard let names = otherMethods[clause] else { return }
            var holds = names.anyOf == nil
            for wanted in names.anyOf ?? [] where head.holds(wanted, at: name) { holds = true }
            for excluded in names.noneOf where head.holds(excluded, at: name) { holds = false }
            if !holds { ClauseSet.remove(clause, from: &left) }
        }
        return left
    }

    /// Decides without the index of paths, for policies that nest deeper than it has room for.
    private func slowly(
        _ access: borrowing PeerAccess,
        _ asked: Asked,
        _ fields: Span<HeaderField>,
        _ head: Span<UInt8>
    ) -> Decision {
        let spelling = CanonicalPath.spelling(head, asked.late.path)
        var first = First()
        forEachBlock(of: access) { place, clauses in
            var open = clauses & methods[asked.row + place]
            if isOther(asked) { open = namedMethod(open, place, asked.methodName, head) }
            open = passing(open, place, asked, fields, head, &first.memo)
            forEachClause(of: open, at: place) { clause in
                let field = pathFields[clause]
                guard field.anyOf?.contains(where: { $0.matches(spelling) }) ?? true,
                    !(field.noneOf?.contains { $0.matches(spelling) } ?? false)
                else { return }
                var found = SIMD8<UInt64>.zero
                ClauseSet.insert(clause, into: &found)
                first.note(found, enforced[place], at: place)
            }
        }
        return decision(first)
    }

    /// Calls `body` with the blocks of a peer, in their order.
    @inline(__always)
    private func forEachBlock(
        of access: borrowing PeerAccess,
        _ body: (Int, SIMD8<UInt64>) -> Void
    ) {
        var index = 0
        for group in 0..<access.summary.count {
            var bits = access.summary[group]
            while bits != 0 {
                body(group * 64 + bits.trailingZeroBitCount, access.blocks[index])
                bits &= bits - 1
                index += 1
            }
        }
    }

    private func forEachClause(
        of block: SIMD8<UInt64>,
        at place: Int,
        _ body: (Int) -> Void
    ) {
        for lane in 0..<8 {
            var bits = block[lane]
            while bits != 0 {
                body(place * ClauseSet.blockSize + lane * 64 + bits.trailingZeroBitCount)
                bits &= bits - 1
            }
        }
    }
}
