// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import TestSeeds

/// Faults come in storms; between them everything works, for long enough to recover.
extension World {
    /// Longer than the longest recovery, so that calm proves something.
    private static let calmSeconds =
        AvailabilityChecker.recovery.seconds + 60...AvailabilityChecker.recovery.seconds + 900

    private var random: SeededGenerator {
        get { scheduler.random }
        set { scheduler.random = newValue }
    }

    func planWeather() {
        scheduler.after(random.duration(300...900), "a storm begins") { [self] in
            try await beginStorm()
        }
    }

    private func beginStorm() async throws {
        isStormy = true
        let length = random.duration(120...1200)
        if random.chance(0.5) { server.crashProbability = random.chance(0.5) ? 0.05 : 0.01 }
        for agent in agents where !agent.isDead {
            if random.chance(0.5) { agent.link.breakProbability = random.chance(0.5) ? 0.9 : 0.3 }
            if random.chance(0.3) { agent.crashProbability = 0.01 }
            agent.link.latency = random.chance(0.3) ? 0.01...3 : 0.001...0.05
        }
        var at = Duration.zero
        while at < length {
            at += random.duration(10...400)
            scheduler.after(at, "fault") { [self] in
                guard isStormy else { return }
                try await strike()
            }
        }
        scheduler.after(length, "the storm ends") { [self] in
            try await endStorm()
            scheduler.after(random.duration(Self.calmSeconds), "a storm begins") { [self] in
                try await beginStorm()
            }
        }
    }

    private func strike() async throws {
        guard let agent = agents.filter({ !$0.isDead }).randomElement(using: &random) else {
            return
        }
        switch Int.random(in: 0..<10, using: &random) {
        case 0, 1:
            agent.link.cut()
            scheduler.note("\(agent.name) is cut off")
        case 2: agent.link.mend()
        case 3:
            agent.crash()
            scheduler.after(random.duration(1...1200), "\(agent.name) is started") {
                try await agent.start()
            }
        case 4:
            try server.crash()
            scheduler.after(random.duration(1...1500), "server is started") { [self] in
                try await server.start()
            }
        case 5, 6:
            let step = random.duration(60...4 * 3600) * (random.chance(0.5) ? 1 : -1)
            agent.clock.step(by: step)
            scheduler.note("\(agent.name) clock steps by \(step.inSeconds)")
        case 7: agent.clock.set()
        case 8: stepServerClock()
        default: agent.link.breakAll()
        }
    }

    private func stepServerClock() {
        let step: Duration
        if random.chance(0.5) {
            step = .zero - random.duration(60...4 * 3600)
        } else if settings.serverClockRuns {
            step = random.duration(60...4 * 3600)
        } else {
            step = random.duration(1...8)
        }
        server.clock.step(by: step)
        scheduler.note("server clock steps by \(step.inSeconds)")
    }

    private func endStorm() async throws {
        isStormy = false
        server.crashProbability = 0
        server.clock.set()
        try await server.start()
        for agent in agents where !agent.isDead {
            agent.link.mend()
            agent.link.breakProbability = 0
            agent.link.latency = 0.001...0.05
            agent.crashProbability = 0
            agent.clock.set()
            try await agent.start()
        }
    }
}
