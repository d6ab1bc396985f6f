// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeSync
import SPIFFE
import TestSeeds
import Testing

/// Keys that come, go, fail and are refused, as a seed says, until everything works again.
private struct RenewalWorld {
    var generator: SeededGenerator
    var queue = RenewalQueue()
    var now = ClockReading(wall: Date(timeIntervalSince1970: 1_800_000_000), boot: .zero)
    var timer: Duration?
    var flying: [SigningBatchID: [IdentityKey]] = [:]
    var wanted: [IdentityKey: IdentityDemand] = [:]
    var svids: [IdentityKey: SVIDValidity] = [:]
    var asked: [IdentityKey: [Duration]] = [:]
    let keys: [IdentityKey]

    init(seed: UInt64) throws {
        generator = SeededGenerator(seed: seed)
        keys = try (0..<30).map {
            IdentityKey(entryID: "e\($0)", spiffeID: try SPIFFEID("spiffe://example.org/e\($0)"))
        }
    }

    mutating func advance(by duration: Duration) {
        now = ClockReading(
            wall: now.wall.addingTimeInterval(Double(duration.components.seconds)),
            boot: now.boot + .seconds(duration.components.seconds)
        )
        if let timer, timer <= now.boot {
            self.timer = nil
            perform(queue.timerFired(now: now))
        }
    }

    mutating func demand() {
        let key = keys[generator.below(keys.count)]
        let demand: IdentityDemand = [.none, .prefetch, .subscribed][generator.below(3)]
        wanted[key] = demand == .none ? nil : demand
        if demand == .none { svids[key] = nil }
        let change = DemandChange(
            key: key,
            demand: demand,
            validity: svids[key],
            isOutdated: generator.once(in: 10)
        )
        perform(queue.demandChanged([change], now: now, using: &generator))
    }

    mutating func answer(working: Bool) {
        guard let batch = flying.keys.sorted().first else { return }
        var outcomes: [IdentityKey: SigningOutcome] = [:]
        for key in flying.removeValue(forKey: batch) ?? [] {
            switch working ? 9 : generator.below(10) {
            case 0: break
            case 1: outcomes[key] = .refused
            case 2, 3: outcomes[key] = .failed
            default:
                let validity = SVIDValidity(
                    issuedAt: now.wall,
                    notAfter: now.wall.addingTimeInterval(600)
                )
                outcomes[key] = .issued(validity)
                if wanted[key] != nil { svids[key] = validity }
            }
        }
        perform(queue.signed(batch, outcomes: outcomes, now: now, using: &generator))
    }

    mutating func step() {
        switch generator.below(10) {
        case 0, 1: demand()
        case 2...5: answer(working: false)
        case 6:
            guard generator.once(in: 10) else { return }
            let seconds = Double(generator.below(2_000) - 1_000)
            now = ClockReading(wall: now.wall.addingTimeInterval(seconds), boot: now.boot)
            perform(queue.clockStepped(now: now, using: &generator))
        default: advance(by: .seconds(generator.below(30)))
        }
        check()
    }

    mutating func perform(_ actions: [RenewalQueue.Action]) {
        for action in actions {
            switch action {
            case .scheduleTimer(let at):
                #expect(at > now.boot, "a timer never fires in a loop")
                timer = at
            case .sign(let batch, let keys):
                #expect(!keys.isEmpty && keys.count <= RenewalQueue.batchMax)
                #expect(flying[batch] == nil)
                flying[batch] = keys
                for key in keys {
                    #expect(wanted[key] != nil, "nothing is signed that nobody wants")
                    asked[key, default: []].append(now.boot)
                }
            }
        }
    }

    func check() {
        #expect(flying.count <= RenewalQueue.batchesInFlightMax)
        #expect(queue.inFlightCount == flying.values.reduce(0) { $0 + $1.count })
        #expect(queue.wantedCount == wanted.count)
    }
}

struct RenewalWalkTests {
    @Test(arguments: walkSeeds)
    func `whatever failed, every wanted identity ends up with a fresh SVID`(_ seed: UInt64) throws {
        var world = try RenewalWorld(seed: seed)
        for _ in 0..<1_500 { world.step() }
        // Everything works for longer than the longest wait.
        for _ in 0..<1_400 {
            world.advance(by: .seconds(1))
            world.answer(working: true)
            world.answer(working: true)
            world.check()
        }
        for key in world.wanted.keys {
            let left = world.svids[key]?.notAfter.timeIntervalSince(world.now.wall) ?? 0
            #expect(left > 200, "\(key) is renewed at half of its 600 s")
        }
    }
}
