// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import SPIFFE

/// A SPIFFE ID as typed after an option; one with a slip would only ever find nothing.
struct TypedSPIFFEID: ExpressibleByArgument, Hashable {
    let text: String

    init?(argument: String) {
        guard (try? SPIFFEID(argument)) != nil else { return nil }
        text = argument
    }

    var defaultValueDescription: String { text }
}
