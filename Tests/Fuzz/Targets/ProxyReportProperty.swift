// SPDX-License-Identifier: Apache-2.0

internal import ControlAPI
internal import ControlAPIProtos
internal import Routing
internal import SwiftProtobuf

/// What a proxy tells its agent: a process without rights may write it, so nothing that is read is
/// beyond the limits, and no sum overflows.
enum ProxyReportProperty {
    static func check(_ input: [UInt8]) throws(PropertyBroken) -> Bool {
        guard let wire = try? Signet_Proxy_V1alpha1_ProxyMessage(serializedBytes: input) else {
            return false
        }
        switch wire.message {
        case .hello(let message):
            guard let hello = try? ProxyHello(parsing: message) else { return false }
            try expect(
                hello.instance.count == AttachedProxy.instanceBytes,
                "an instance of another length"
            )
            try expect(
                hello.capabilities.count <= AttachedProxy.capabilitiesMax
                    && (hello.capabilities + [hello.version]).allSatisfy {
                        $0.utf8.count <= AttachedProxy.wordBytesMax
                    },
                "too many or too long words"
            )
        case .listening(let message):
            guard
                let list = try? ProxyListening.list(parsing: message.listeners, "listening")
            else { return false }
            try expect(list.count == message.listeners.count, "a listener was lost")
            try expect(list.count <= Proxy.listenersMax, "too many listeners")
            try expect(
                Set(list.map(\.listener)).count == list.count,
                "a listener stands there twice"
            )
        case .records(let message):
            let counted = ProxyRecords.counted(message)
            try expect(counted.dropped >= 0, "fewer than no records were lost")
            try expect(
                counted.decisions.count <= ProxyRecords.countsMax
                    && counted.decisions.values.allSatisfy { $0 >= 0 },
                "counts that are none"
            )
        case .answer, .draining: break
        case .queryAnswer(let answer): return answer.hasReply
        case nil: return false
        }
        return true
    }
}
