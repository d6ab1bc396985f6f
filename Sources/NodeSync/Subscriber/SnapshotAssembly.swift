// SPDX-License-Identifier: Apache-2.0

/// A snapshot that is being received; nothing of it counts before it is complete.
struct SnapshotAssembly: Sendable {
    let revision: Revision
    private(set) var resources: [ResourceKey: [UInt8]] = [:]
    /// Entries that there is no room for, the first ones by name.
    private(set) var excess: Set<ResourceKey> = []
    private var excessCount = 0
    private var room = EntryRoom()
    private var pageCount = 0
    private var sizeBytes = 0

    init(revision: Revision) {
        self.revision = revision
    }

    /// Takes the next page.
    ///
    /// - Parameters:
    ///   - index: The page's place.
    ///   - page: Its resources.
    ///   - isKnown: Whether the subscriber has a resource already: such entries are not too many.
    /// - Throws: `SyncViolation` naming the rule that the page breaks.
    mutating func received(
        page index: Int,
        _ page: [Resource],
        isKnown: (ResourceKey) -> Bool
    ) throws(SyncViolation) {
        guard index == pageCount else { throw .pageOutOfOrder }
        pageCount += 1
        var pageBytes = 0
        for resource in page {
            guard resource.key.name.utf8.count <= ResourceKey.nameBytesMax else {
                throw .resourceNameTooLong
            }
            pageBytes += resource.sizeBytes
            if resource.key.type == .entry, !isKnown(resource.key), !room.take(resource.sizeBytes) {
                excessCount += 1
                if excess.count < SyncLimits.refusalsReportedMax { excess.insert(resource.key) }
                continue
            }
            sizeBytes += resource.sizeBytes
            guard resources.updateValue(resource.payload, forKey: resource.key) == nil else {
                throw .resourceRepeated
            }
        }
        guard pageBytes <= SyncLimits.messageBytesMax else { throw .messageTooBig }
        guard
            resources.count <= SyncLimits.resourcesMax, sizeBytes <= SyncLimits.resourceBytesMax
        else { throw .resourcesTooMany }
    }

    /// Takes the end mark.
    ///
    /// - Returns: All resources of the snapshot but for `excess`.
    func finished(resourceCount: Int) throws(SyncViolation) -> [ResourceKey: [UInt8]] {
        guard resources.count + excessCount == resourceCount else { throw .snapshotIncomplete }
        return resources
    }
}

/// How a publisher broke the protocol; the stream ends, what is applied stays in force.
package enum SyncViolation: Error, Hashable, Sendable {
    /// A Delta does not continue what is applied, or ends before it begins.
    case deltaNotContinuous
    /// A Delta or Watermark of another epoch than what is applied.
    case epochUnknown
    /// A message came while another was being applied; the shell reads them one at a time.
    case messageUnexpected
    case messageTooBig
    case pageOutOfOrder
    case resourceNameTooLong
    case resourceRepeated
    case resourcesTooMany
    /// The end mark names another number of resources than came.
    case snapshotIncomplete
    /// A page or end mark without a beginning, or another message between pages.
    case snapshotOutOfOrder
}
