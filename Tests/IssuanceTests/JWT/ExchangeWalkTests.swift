// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import Issuance
import SPIFFE
import TestSeeds
import Testing

/// Workloads that exchange whatever they have got, while policies come and go and time passes: what
/// is issued and what is refused is always what a few sentences say.
struct ExchangeWalkTests {
    private static let workloads = ["a", "b", "c", "d", "e", "f", "g"]
    private static let lifetimeSeconds = 90

    /// What somebody has got, as the walk knows it.
    private struct Held {
        let token: [UInt8]
        let subject: String
        let actors: [String]
        let audience: String
        /// Seconds since the beginning.
        let end: Int
    }

    private struct Triple: Hashable {
        let subject: String
        let actor: String
        let audience: String
    }

    private struct Walk {
        let workshop: ExchangeWorkshop
        var random: SeededGenerator
        var seconds = 0
        var permitted: [Triple] = []
        var held: [Held] = []
        var issuedCount = 0
        var longest = 0
        var refusals: Set<String> = []

        init(seed: UInt64) throws {
            workshop = try ExchangeWorkshop()
            random = SeededGenerator(seed: seed)
        }

        var now: Date { Workshop.now.addingTimeInterval(Double(seconds)) }

        var policies: [DelegationPolicy] {
            get throws {
                try permitted.map {
                    try ExchangeWorkshop.policy([$0.subject], [$0.actor], [$0.audience])
                }
            }
        }

        mutating func pick<Item>(_ items: [Item]) -> Item {
            items[Int.random(in: 0..<items.count, using: &random)]
        }

        /// A name that is nobody's, or the ID of a workload.
        mutating func audience() -> String {
            let name = pick(ExchangeWalkTests.workloads + ["ledger"])
            return name == "ledger" ? name : ExchangeWorkshop.idText(name)
        }

        mutating func step() throws {
            switch Int.random(in: 0..<10, using: &random) {
            case 0:
                seconds += Int.random(in: 1...20, using: &random)
                // Some that have ended are still tried.
                held.removeAll { $0.end + 10 < seconds }
            case 1: try getToken()
            case 2:
                guard permitted.count > 60 else { return }
                for _ in 0..<10 {
                    permitted.remove(at: Int.random(in: 0..<permitted.count, using: &random))
                }
            case 3, 4: permit()
            default: try exchange()
            }
        }

        private mutating func permit() {
            for _ in 0..<8 {
                let triple = Triple(
                    subject: pick(["a", "b"]),
                    actor: pick(ExchangeWalkTests.workloads),
                    audience: audience()
                )
                if !permitted.contains(triple) { permitted.append(triple) }
            }
        }

        private mutating func getToken() throws {
            let subject = pick(["a", "b"])
            let audience = audience()
            let token = try workshop.svid(
                of: subject,
                for: [audience],
                lifetimeSeconds: ExchangeWalkTests.lifetimeSeconds,
                seed: random.next(),
                now: now
            )
            held.append(
                Held(
                    token: token,
                    subject: subject,
                    actors: [],
                    audience: audience,
                    end: seconds + ExchangeWalkTests.lifetimeSeconds
                )
            )
        }

        /// Mostly by who may, with what he got last, or the walk sees nothing but one refusal.
        private mutating func exchange() throws {
            guard !held.isEmpty else { return }
            let shown = Bool.random(using: &random) ? held[held.count - 1] : pick(held)
            let name = shown.audience.split(separator: "/").last.map(String.init) ?? "a"
            let isMeant = name != "ledger" && Int.random(in: 0..<5, using: &random) > 0
            let actor = isMeant ? name : pick(ExchangeWalkTests.workloads)
            let next = audience()
            let expected = refusal(of: shown, by: actor, for: next)
            let policies = try policies
            let refused = try workshop.refusal(
                shown.token,
                by: actor,
                for: next,
                policies: policies,
                now: now
            )
            #expect(refused.map(Self.word) == expected)
            if let refused { refusals.insert(Self.word(refused)) }
            guard refused == nil, expected == nil else { return }
            let issued = try workshop.exchange(
                shown.token,
                by: actor,
                for: next,
                policies: policies,
                seed: random.next(),
                now: now
            )
            try check(issued, from: shown, by: actor, for: next)
        }

        /// What the record says, in its order.
        private func refusal(of shown: Held, by actor: String, for next: String) -> String? {
            if seconds >= shown.end { return "subjectTokenRefused" }
            if shown.audience != ExchangeWorkshop.idText(actor) { return "subjectTokenAudience" }
            if shown.actors.count == 4 || ([shown.subject] + shown.actors).contains(actor) {
                return "chainRefused"
            }
            let actors = shown.actors + [actor]
            for (index, each) in actors.enumerated() {
                let isLast = index == actors.count - 1
                let audience = isLast ? next : ExchangeWorkshop.idText(actors[index + 1])
                let triple = Triple(subject: shown.subject, actor: each, audience: audience)
                guard permitted.contains(triple) else {
                    return "delegationNotPermitted \(each) \(isLast)"
                }
            }
            return shown.end - seconds < 15 ? "subjectTokenEnds" : nil
        }

        private static func word(_ refusal: ExchangeRefusal) -> String {
            switch refusal {
            case .audienceMalformed: "audienceMalformed"
            case .chainRefused: "chainRefused"
            case .delegationNotPermitted(let hop, let isLast):
                "delegationNotPermitted \(hop.actor.path.dropFirst()) \(isLast)"
            case .exchangeOff: "exchangeOff"
            case .subjectTokenAudience: "subjectTokenAudience"
            case .subjectTokenEnds: "subjectTokenEnds"
            case .subjectTokenRefused: "subjectTokenRefused"
            case .token: "token"
            }
        }

        private mutating func check(
            _ issued: IssuedToken,
            from shown: Held,
            by actor: String,
            for next: String
        ) throws {
            let token = Array(issued.token.utf8)
            let verified = try workshop.verifier.verifyDelegated(
                token: token,
                audience: next,
                leeway: .zero,
                now: now
            )
            let chain = verified.chain
            let actors = shown.actors + [actor]
            #expect(chain.subject == (try ExchangeWorkshop.id(shown.subject)))
            #expect(chain.actors == (try actors.map { try ExchangeWorkshop.id($0) }))
            // Never longer than what the subject itself showed.
            let end = Workshop.now.addingTimeInterval(Double(shown.end))
            #expect(verified.claims.expiresAt == end)
            issuedCount += 1
            longest = max(longest, actors.count)
            held.append(
                Held(
                    token: token,
                    subject: shown.subject,
                    actors: actors,
                    audience: next,
                    end: shown.end
                )
            )
        }
    }

    @Test func `every exchange ends as the rules say, whatever came before`() throws {
        var refusals: Set<String> = []
        var (issuedCount, longest) = (0, 0)
        for seed in 1...6 as ClosedRange<UInt64> {
            var walk = try Walk(seed: seed)
            for _ in 0..<500 { try walk.step() }
            refusals.formUnion(walk.refusals.map { String($0.prefix { $0 != " " }) })
            issuedCount += walk.issuedCount
            longest = max(longest, walk.longest)
        }
        // The walk has been where it should.
        #expect(issuedCount > 150 && longest >= 3, "\(issuedCount) issued, \(longest) actors")
        #expect(
            refusals == [
                "chainRefused", "delegationNotPermitted", "subjectTokenAudience",
                "subjectTokenEnds", "subjectTokenRefused",
            ]
        )
    }
}
