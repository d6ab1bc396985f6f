// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// When an SVID is due for renewal: after half of its life, moved by up to 10 % of that half either
/// way so that SVIDs issued together are not renewed together.
///
/// - Parameters:
///   - issuedAt: When the authority signed it, not the backdated notBefore.
///   - notAfter: The end of its validity.
///   - jitter: Where the displacement comes from.
/// - Returns: An instant between 45 % and 55 % of the life; `issuedAt` if there is no life.
package func renewalTime(
    issuedAt: Date,
    notAfter: Date,
    jitter: inout some RandomNumberGenerator
) -> Date {
    let half = max(0, notAfter.timeIntervalSince(issuedAt)) / 2
    return issuedAt.addingTimeInterval(half * Double.random(in: 0.9...1.1, using: &jitter))
}
