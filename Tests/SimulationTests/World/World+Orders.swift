// SPDX-License-Identifier: Apache-2.0

import CAServer
import ControlAPI
import FoundationEssentials
import Issuance
import TestSeeds

/// Admins who rotate authorities, and distrust them, without waiting for anybody.
extension World {
    private var random: SeededGenerator {
        get { scheduler.random }
        set { scheduler.random = newValue }
    }

    func planOrders() {
        plan(random.duration(240...900), "admin orders something of authorities") { [self] in
            try await order()
            planOrders()
        }
    }

    /// Does something with the server that takes several steps, as `administer` does what takes one.
    func command(_ action: (ServerProcess) async throws -> Void) async throws {
        guard server.servesSince != nil, let running = server.running else { return }
        do {
            try await action(running)
        } catch is ServerGone {
        } catch {
            scheduler.note("admin is refused: \(APIError(datastore: error).reason)")
        }
    }

    private func order() async throws {
        // By a clock that is wrong, what was revoked might be forgotten too early.
        guard server.clock.error == .zero else { return }
        switch Int.random(in: 0..<10, using: &random) {
        case 0, 1: try await command { try await $0.prepareNext() }
        case 2: try await revokePrepared()
        case 3:
            try await command { running in
                let ids = try running.authorities(in: .old) + running.authorities(in: .tainted)
                if let id = pick(ids) { try await running.revoke(authority: id) }
            }
        default: try await rotate()
        }
    }

    /// It is made anew by the formula, for which there has to be time.
    private func revokePrepared() async throws {
        try await command { running in
            guard let active = try running.authorities(in: .active).first,
                let fact = ledger.authorities[active],
                server.clock.wallTime < fact.lastMoment(settings.lifetimes),
                let next = try running.authorities(in: .prepared).first
            else { return }
            try await running.revoke(authority: next)
        }
    }

    /// As an admin does whose key may have been copied: another one signs, then what the one before
    /// signed is replaced, or counts no more at once.
    private func rotate() async throws {
        var replaced: String?
        try await command { replaced = try await $0.rotateNow() }
        guard let old = replaced else { return }
        let delay = random.duration(1...90)
        if random.chance(0.7) {
            plan(delay, "admin taints an authority") { [self] in
                guard server.clock.error == .zero else { return }
                try await command { try await $0.taint(old) }
            }
            guard random.chance(0.5) else { return }
            plan(delay + random.duration(1...1200), "admin revokes a tainted authority") {
                [self] in try await revoke(old)
            }
        } else {
            plan(delay, "admin revokes an authority") { [self] in try await revoke(old) }
        }
    }

    private func revoke(_ id: String) async throws {
        guard server.clock.error == .zero, ledger.revokedAuthorities[id] == nil else { return }
        try await command { try await $0.revoke(authority: id) }
    }
}
