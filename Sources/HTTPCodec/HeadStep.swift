// SPDX-License-Identifier: Apache-2.0

package import HTTPSemantics

/// What reading a head came to.
package enum HeadStep: Hashable, Sendable {
    /// The head is not whole yet: more bytes, or a deadline.
    case needInput
    /// The head is whole and these many bytes long; the body begins after it.
    case head(bytes: Int)
    /// It is refused; nothing after it can be understood.
    case refused(HTTPRefusal)
}
