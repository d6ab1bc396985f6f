// SPDX-License-Identifier: Apache-2.0

import FoundationEssentials
import TestSeeds

/// Partners that change their keys, endpoints that are away or in the wrong hands, and admins who
/// begin and end to federate.
extension World {
    private var random: SeededGenerator {
        get { scheduler.random }
        set { scheduler.random = newValue }
    }

    func planPartners() {
        for partner in partners {
            plan(random.duration(1...200), "admin federates with \(partner.name)") { [self] in
                try federate(with: partner)
            }
        }
        planPartnerEvent()
    }

    /// An act that finds no server, or one that ends, is done again.
    private func federate(with partner: SimulatedPartner) throws {
        if ledger.partners[partner.trustDomain] == nil {
            try administer { try $0.federate(with: partner) }
        }
        guard ledger.partners[partner.trustDomain] == nil else { return }
        plan(.seconds(30), "admin federates with \(partner.name) again") { [self] in
            try federate(with: partner)
        }
    }

    private func planPartnerEvent() {
        plan(random.duration(60...500), "a partner acts") { [self] in
            if let partner = pick(partners) { try act(partner) }
            planPartnerEvent()
        }
    }

    private func act(_ partner: SimulatedPartner) throws {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<3: try partner.rotate()
        case 3, 4: try partner.withdraw()
        case 5: serve(.older(Int.random(in: 1...3, using: &random)), at: partner)
        case 6: serve(.unnumbered, at: partner)
        case 7, 8: serve(.away, at: partner)
        default:
            guard ledger.partners[partner.trustDomain] != nil else { return }
            try administer { try $0.part(from: partner) }
            guard ledger.partners[partner.trustDomain] == nil else { return }
            plan(random.duration(30...600), "admin federates with \(partner.name)") { [self] in
                try federate(with: partner)
            }
        }
    }

    /// For a while; where there is time, sometimes for longer than anybody believes what was there.
    private func serve(_ serving: SimulatedPartner.Serving, at partner: SimulatedPartner) {
        guard partner.serving == .newest else { return }
        partner.serve(serving)
        let stale = SimulatedPartner.staleAfter
        let isLong = settings.duration > stale * 2 && random.chance(0.2)
        let length = isLong ? stale + random.duration(900...3600) : random.duration(60...1200)
        plan(length, "the endpoint of \(partner.name) is right again") {
            partner.serve(.newest)
        }
    }
}
