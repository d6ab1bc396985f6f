// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import NodeSync
internal import Routing
internal import SPIFFE
internal import SwiftProtobuf

/// What server and agent push to each other: whatever is read has one meaning, which is written and
/// read back.
enum SyncMessageProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        let isResponse = try response(input)
        let isRequest = try request(input)
        return isResponse || isRequest
    }

    /// From the server to an agent.
    private static func response(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let wire = try? Signet_Node_V1alpha1_SyncResponse(serializedBytes: input) else {
            return false
        }
        if case .observedEndpoints(let wire) = wire.message {
            guard let lists = try? ObservedEndpoints.lists(parsing: wire) else { return false }
            let again = try expectSuccess("lists are read back") {
                try ObservedEndpoints.lists(parsing: lists.message.observedEndpoints)
            }
            try expect(again == lists, "other lists than were written")
            return true
        }
        guard let message = try? SyncMessage(parsing: wire) else { return false }
        let again = try expectSuccess("a message is read back") {
            try SyncMessage(parsing: message.message)
        }
        try expect(again == message, "another message than was written")
        for (key, payload) in message.payloads {
            guard let value = try? ResourcePayload(key, payload) else { continue }
            let resource = try expectSuccess("a payload is written") { try value.resource }
            try expect(resource.key == key, "a payload under another name than its own")
            let again = try expectSuccess("a payload is read back") {
                try ResourcePayload(key, resource.payload)
            }
            try expect(again == value, "another payload than was written")
        }
        return true
    }

    /// From an agent to the server.
    private static func request(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let wire = try? Signet_Node_V1alpha1_SyncRequest(serializedBytes: input) else {
            return false
        }
        switch wire.message {
        case .ack(let wire):
            guard let ack = try? SyncAcknowledgement(parsing: wire) else { return false }
            let again = try expectSuccess("an answer is read back") {
                try SyncAcknowledgement(parsing: ack.message)
            }
            try expect(again == ack, "another answer than was written")
        case .proxyReport(let wire):
            guard let proxies = try? AttachedProxy.report(parsing: wire) else { return false }
            let again = try expectSuccess("a report is read back") {
                try AttachedProxy.report(parsing: .with { $0.proxies = proxies.map(\.message) })
            }
            try expect(again == proxies, "another report than was written")
        case .hello(let hello): return (try? Revision(parsing: hello.have)) != nil
        case .queryReply, nil: return false
        }
        return true
    }
}

extension SyncMessage {
    fileprivate var payloads: [(ResourceKey, [UInt8])] {
        switch self {
        case .delta(let delta):
            delta.changes.compactMap { change in
                if case .upsert(let key, let payload) = change { (key, payload) } else { nil }
            }
        case .snapshotPage(_, let resources): resources.map { ($0.key, $0.payload) }
        case .snapshotBegin, .snapshotEnd, .watermark: []
        }
    }
}

/// The state of a proxy: what is read fits together, and is written and read back.
enum ProxyStateProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let wire = try? Signet_Node_V1alpha1_ProxyState(serializedBytes: input),
            let state = try? ProxyState(parsing: wire)
        else { return false }
        let again = try expectSuccess("a state is read back") {
            try ProxyState(parsing: state.message)
        }
        try expect(again == state, "another state than was written")
        let proxy = state.proxy
        try expect(
            Set(proxy.identities.map(\.trustDomain)).count == 1,
            "identities of several trust domains"
        )
        try expect(
            proxy.inbound.count == state.inboundPolicies.count
                && state.inboundPolicies.joined().allSatisfy(state.policies.indices.contains),
            "policies that are not there"
        )
        for listener in proxy.outbound {
            try expect(
                state.service(named: listener.service)?.port(named: listener.port) != nil,
                "a listener to a port that is not there"
            )
        }
        let used = proxy.inbound.map(\.identity) + proxy.outbound.map(\.identity)
        try expect(
            used.allSatisfy(proxy.identities.contains),
            "an identity that is not the proxy's"
        )
        return true
    }
}
