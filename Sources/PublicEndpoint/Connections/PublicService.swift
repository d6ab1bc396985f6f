// SPDX-License-Identifier: Apache-2.0

package import FoundationEssentials

/// What a listener asks and tells whoever runs it.
package struct PublicService: Sendable {
    /// What is served; nil until the bundle was first read.
    package var pages: @Sendable () -> PublicPages?
    /// The wall clock; nil while it is not believed.
    package var wallTime: @Sendable () -> Date?
    /// A clock that never steps.
    package var bootTime: @Sendable () -> Duration
    /// Something happened; called on the listener's thread.
    package var observe: @Sendable (PublicEvent) -> Void

    /// Joins the parts.
    package init(
        pages: @escaping @Sendable () -> PublicPages?,
        wallTime: @escaping @Sendable () -> Date?,
        bootTime: @escaping @Sendable () -> Duration,
        observe: @escaping @Sendable (PublicEvent) -> Void
    ) {
        self.pages = pages
        self.wallTime = wallTime
        self.bootTime = bootTime
        self.observe = observe
    }

    func answer(to request: PublicRequest) -> PublicAnswer {
        PublicAnswer(to: request, from: pages(), now: wallTime())
    }
}

/// What happened on a listener, for metrics: no byte of what strangers send.
package enum PublicEvent: Hashable, Sendable {
    /// A request was answered, about a document or `PublicAnswer.noDocument`.
    case answered(document: String, status: Int)
    /// A connection ended, or was not taken.
    case closed(PublicClosing)
}

/// Why a connection ended.
package enum PublicClosing: String, CaseIterable, Hashable, Sendable {
    /// It had its answer.
    case answered
    /// There is no certificate to serve it with.
    case noCertificate
    /// The peer left first.
    case peer
    /// The head did not come in time.
    case slowHead
    /// The answer was not taken in time.
    case slowReader
    /// The handshake or a record failed.
    case tls
    case tooMany
    case tooManyOfAddress
    case tooOften

    init(_ refusal: AdmissionRefusal) {
        switch refusal {
        case .tooMany: self = .tooMany
        case .tooManyOfAddress: self = .tooManyOfAddress
        case .tooOften: self = .tooOften
        }
    }
}
