// SPDX-License-Identifier: Apache-2.0

internal import HTTPSemantics

/// Finds the empty line that ends a head, looking at each byte once however it arrives.
///
/// It is all that a connection has to remember of a head that is not whole.
package struct HeadEnd: Sendable {
    /// Bytes that were looked at and hold no end.
    private var searched = 0

    package init() {}

    /// Looks at what has arrived.
    ///
    /// - Returns: The length of the head with its empty line; nil if it has no end yet.
    mutating func find(_ input: Span<UInt8>, from start: Int) -> Int? {
        var index = max(searched, start)
        let last = input.count - 3
        while index < last {
            // The fourth byte of CR LF CR LF decides how far the next one can be.
            switch input[index + 3] {
            case Octet.lineFeed:
                if input[index + 2] == Octet.carriageReturn, input[index + 1] == Octet.lineFeed,
                    input[index] == Octet.carriageReturn
                {
                    searched = 0
                    return index + 4
                }
                index += 2
            case Octet.carriageReturn: index += 1
            default: index += 4
            }
        }
        searched = index
        return nil
    }
}
