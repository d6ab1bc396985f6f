// SPDX-License-Identifier: Apache-2.0

/// Why nothing was fetched.
///
/// Of what a server answers there is no more in it than a status and an ID: nobody learns from a
/// fetch what a service of an inner network says.
package struct BundleFetchError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The rule that failed.
    package enum Reason: String, CaseIterable, Hashable, Sendable {
        /// No address of the name may be connected to.
        case addressRefused
        case bodyTooLarge
        /// The endpoint shows another SPIFFE ID than the one that was configured.
        case endpointIDDiffers
        /// Its certificate does not verify.
        case endpointUntrusted
        case nameUnresolved
        case redirectRefused
        case responseMalformed
        case statusUnexpected
        /// It was not over in `BundleClient.timeMax`.
        case timedOut
        case tlsFailed
        /// Nobody took the connection at any address.
        case unreachable
    }

    /// Most bytes of a detail: some of it is the peer's.
    private static let detailBytesMax = 512

    package let reason: Reason
    package let detail: String

    /// Takes a reason and what an operator should know of it.
    ///
    /// - Parameters:
    ///   - reason: The rule that failed.
    ///   - detail: A sentence, cut if it is long.
    package init(_ reason: Reason, _ detail: String) {
        self.reason = reason
        let bytes = detail.utf8.prefix(Self.detailBytesMax).map { byte in
            (0x20..<0x7F).contains(byte) ? byte : 0x3F
        }
        self.detail = String(decoding: bytes, as: UTF8.self)
    }

    package var description: String { "\(reason.rawValue): \(detail)" }
}
