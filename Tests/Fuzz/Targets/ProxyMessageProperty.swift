// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import MTLSProxy
internal import NodeSync
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf

/// What an agent tells a proxy: whatever is read keeps to the limits and fits together.
enum ProxyMessageProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let wire = try? Signet_Proxy_V1alpha1_AgentMessage(serializedBytes: input) else {
            return false
        }
        switch wire.message {
        case .trust(let wire):
            guard let trust = try? ProxyTrust(parsing: wire) else { return false }
            try expect(
                trust.bundles[trust.trustDomain] != nil,
                "trust without the bundle of its own trust domain"
            )
            try expect(
                trust.bundles.allSatisfy { $0.key == $0.value.trustDomain },
                "the bundle of another trust domain"
            )
            try expect(
                trust.revocations.count <= AgentMessageLimits.revocationsMax,
                "too many revocations"
            )
            try expect(
                trust.federations.allSatisfy { id, others in
                    trust.granted.contains(id) && !others.isEmpty
                        && !others.contains(trust.trustDomain)
                        && others.count <= RegistrationEntry.federatesWithMax
                },
                "an ID that federates with its own trust domain, with nobody, or is not granted"
            )
        case .state(let wire):
            guard let received = try? ReceivedState(parsing: wire) else { return false }
            for (id, identity) in received.identities {
                try expect(
                    received.state.proxy.identities.contains(id),
                    "the key of an identity that is not the proxy's"
                )
                guard let identity else { continue }
                try expect(identity.id == id, "the key of another identity")
                try expect(identity.notBefore <= identity.notAfter, "a validity that is none")
            }
        case .endpoints(let wire):
            guard let endpoints = try? proxyEndpoints(parsing: wire) else { return false }
            for (port, addresses) in endpoints {
                let list = wire.ports.first {
                    $0.namespace == port.namespace && $0.service == port.service
                        && $0.port == port.name
                }
                try expect(
                    addresses.count == list?.endpoints.count,
                    "an endpoint was lost"
                )
            }
        case .question(let wire): return ProxyQuestion(parsing: wire.query) != nil
        case .watermark(let wire): return (try? Revision(parsing: wire.revision)) != nil
        case nil: return false
        }
        return true
    }
}
