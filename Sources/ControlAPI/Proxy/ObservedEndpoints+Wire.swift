// SPDX-License-Identifier: Apache-2.0

package import ControlAPIProtos
package import NodeSync
internal import Routing
internal import SwiftProtobuf

extension ObservedEndpoints {
    /// Reads the list of one port.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package init(
        parsing message: Signet_Node_V1alpha1_ObservedPort
    ) throws(WireError) {
        let path = "observed_endpoints.ports"
        guard message.endpoints.count <= EndpointDirectory.listMax else {
            throw .tooMany(path + ".endpoints", max: EndpointDirectory.listMax)
        }
        for text in message.endpoints {
            _ = try StrictFields.address(text, path + ".endpoints")
        }
        try StrictFields.single(
            message.endpoints,
            path + ".endpoints",
            max: EndpointDirectory.listMax
        )
        self.init(
            port: ObservedPort(
                namespace: try StrictFields.name(message.namespace, path + ".namespace"),
                service: try StrictFields.name(message.service, path + ".service"),
                name: try StrictFields.name(message.port, path + ".port")
            ),
            addresses: message.endpoints,
            isPartial: message.partial
        )
    }

    /// Reads a message of lists.
    ///
    /// - Throws: `WireError` naming the first field that cannot be read.
    package static func lists(
        parsing message: Signet_Node_V1alpha1_ObservedEndpoints
    ) throws(WireError) -> [ObservedEndpoints] {
        guard message.ports.count <= EndpointDirectory.portsMax else {
            throw .tooMany("observed_endpoints.ports", max: EndpointDirectory.portsMax)
        }
        var lists: [ObservedEndpoints] = []
        for port in message.ports { lists.append(try ObservedEndpoints(parsing: port)) }
        return lists
    }

    /// The wire form.
    package var message: Signet_Node_V1alpha1_ObservedPort {
        .with {
            $0.namespace = port.namespace
            $0.service = port.service
            $0.port = port.name
            $0.endpoints = addresses
            $0.partial = isPartial
        }
    }
}

extension [ObservedEndpoints] {
    /// What an agent is told.
    package var message: Signet_Node_V1alpha1_SyncResponse {
        .with { $0.observedEndpoints = .with { $0.ports = map(\.message) } }
    }
}
