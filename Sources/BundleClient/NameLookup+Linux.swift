// SPDX-License-Identifier: Apache-2.0

internal import CLinux
package import HTTPSemantics

/// The system's resolver.
package enum NameLookup {
    /// Most addresses that are taken of an answer: more than are tried, as some may be refused.
    package static let addressesMax = 32

    /// Looks a name up, and blocks for as long as name servers take.
    ///
    /// - Parameter name: A host name.
    /// - Returns: Its addresses, best first.
    /// - Throws: `BundleFetchError` (`nameUnresolved`).
    package static func addresses(of name: String) throws(BundleFetchError) -> [IPAddress] {
        var found = Array(repeating: clinux_address(), count: addressesMax)
        let count = unsafe found.withUnsafeMutableBufferPointer { buffer -> Int32 in
            guard let start = buffer.baseAddress else { return 0 }
            return unsafe clinux_resolve(name, start, Int32(buffer.count))
        }
        guard count >= 0 else {
            let reason = unsafe String(cString: clinux_resolve_reason(-count))
            throw BundleFetchError(.nameUnresolved, "\(name): \(reason)")
        }
        return found.prefix(Int(count)).map { IPAddress(high: $0.high, low: $0.low) }
    }
}
