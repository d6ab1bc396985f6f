// SPDX-License-Identifier: Apache-2.0

extension PeerAccess {
    /// Whether no request of the peer can be allowed, whatever it asks for.
    ///
    /// It may be false although none can: then every request is decided, as always.
    package var isHopeless: Bool { isReserved || blocks.isEmpty }
}
