// SPDX-License-Identifier: Apache-2.0

/// What is tried in a world beside storms and admins that write entries.
///
/// It follows from the seed alone, without a draw: so a world in which something was found once
/// stays what it was when another trial comes to be.
struct Trials: Sendable {
    /// Bundles of other trust domains are fetched, from endpoints that are not always honest.
    let partners: Bool
    /// Certificates, identities and what banned nodes hold are revoked, and lists are signed.
    let revocations: Bool
    /// Authorities that have retired are tainted.
    let taints: Bool
    /// Admins order rotations, by the formula and at once, and taint and revoke authorities.
    let orders: Bool

    init(seed: UInt64) {
        partners = [0, 7, 9].contains(seed % 11)
        revocations = [0, 7].contains(seed % 8)
        taints = seed % 3 == 1
        orders = [0, 12].contains(seed % 13)
    }

    /// Whether each node has a proxy.
    var proxies: Bool { partners || revocations || orders }
}
