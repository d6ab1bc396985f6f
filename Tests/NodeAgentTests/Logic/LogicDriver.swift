// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE
import TestSeeds
import Testing

/// Drives one `AgentLogic` by hand and collects what it says.
struct LogicDriver {
    let world: AgentWorld
    var logic: AgentLogic
    var now: ClockReading
    private var generator: SeededGenerator
    private(set) var conditions: [AgentLogic.Condition: String?] = [:]
    private(set) var timer: Duration?
    private var lastSubscriber: UInt64 = 0

    init(_ world: AgentWorld, _ stored: StoredAgent, seed: UInt64 = 7) {
        self.world = world
        generator = SeededGenerator(seed: seed)
        now = ClockReading(wall: world.now, boot: world.boot)
        logic = AgentLogic(stored, name: "web-1", now: now, using: &generator)
    }

    /// Tells the logic something; conditions and timers are kept aside.
    mutating func tell(
        _ event: (inout AgentLogic, ClockReading, inout SeededGenerator) -> [AgentLogic.Action]
    ) -> [AgentLogic.Action] {
        event(&logic, now, &generator).filter { action in
            switch action {
            case .condition(let condition, let problem):
                conditions[condition] = .some(problem)
                return false
            case .scheduleTimer(let deadline):
                timer = deadline
                return false
            default: return true
            }
        }
    }

    mutating func advance(_ duration: Duration) {
        now = ClockReading(
            wall: now.wall.addingTimeInterval(duration / .seconds(1)),
            boot: now.boot + duration
        )
    }

    /// Advances to the timer and fires it.
    mutating func fire() throws -> [AgentLogic.Action] {
        let deadline = try #require(timer)
        advance(max(.zero, deadline - now.boot))
        timer = nil
        return tell { $0.timerFired(now: $1, using: &$2) }
    }

    mutating func connect(nodeSelectors: Set<Selector> = []) -> [AgentLogic.Action] {
        let actions = tell { $0.connected(now: $1, using: &$2) }
        return actions
            + tell {
                $0.welcomed(
                    trustDomain: "example.org",
                    serverTime: $1.wall,
                    nodeSelectors: nodeSelectors,
                    now: $1,
                    using: &$2
                )
            }
    }

    mutating func receive(_ messages: [SyncMessage]) -> [AgentLogic.Action] {
        messages.flatMap { message in tell { $0.received(message, now: $1, using: &$2) } }
    }

    /// Starts, connects and receives a snapshot.
    mutating func join(_ entries: [RegistrationEntry]) throws -> [AgentLogic.Action] {
        let started = tell { $0.started(now: $1, using: &$2) }
        #expect(started == [.connect])
        return connect() + receive(try world.snapshot(1, entries))
    }

    mutating func subscribe(
        _ selectors: Set<Selector>,
        _ interest: WorkloadInterest = .svids
    ) -> (id: SubscriberID, actions: [AgentLogic.Action]) {
        lastSubscriber += 1
        let id = SubscriberID(lastSubscriber)
        let actions = tell {
            $0.subscribed(id, selectors: selectors, interest: interest, now: $1, using: &$2)
        }
        return (id, actions)
    }

    /// Answers every batch among the actions with certificates.
    mutating func sign(_ actions: [AgentLogic.Action]) throws -> [AgentLogic.Action] {
        var result: [AgentLogic.Action] = []
        for case .sign(let batch) in actions {
            var results: [IdentityKey: SigningResult] = [:]
            for item in batch.items {
                results[item.key] = .issued(try world.issued(item.key, at: now.wall))
            }
            let answers = results
            result += tell { $0.signed(batch.id, answers, now: $1, using: &$2) }
        }
        return result
    }

    func view(_ id: SubscriberID) throws -> WorkloadView {
        guard case .view(let view) = logic.answer(for: id) else { throw Missing() }
        return view
    }
}
