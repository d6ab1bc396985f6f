// SPDX-License-Identifier: Apache-2.0

/// How much room a subscriber's entries take.
///
/// Whoever may write entries of one namespace can write more than an agent holds. What is too much
/// is refused by name: it stops neither revocations nor bundles, and what was there first stays, unless
/// it was to be changed.
struct EntryRoom: Sendable {
    private var count = 0
    private var bytes = 0

    /// Takes an entry in, unless there is no room for it.
    ///
    /// - Parameters:
    ///   - size: Bytes of its name and payload.
    ///   - old: The same of what it replaces; nil if it is new.
    /// - Returns: Whether it is in.
    mutating func take(_ size: Int, replacing old: Int? = nil) -> Bool {
        let (newCount, newBytes) = (count + (old == nil ? 1 : 0), bytes + size - (old ?? 0))
        let grows = size > old ?? 0
        guard !grows || newCount <= SyncLimits.entriesMax && newBytes <= SyncLimits.entryBytesMax
        else { return false }
        (count, bytes) = (newCount, newBytes)
        return true
    }

    /// An entry is in, whether there was room for it or not.
    mutating func add(_ size: Int) {
        count += 1
        bytes += size
    }

    /// An entry is gone.
    mutating func release(_ size: Int) {
        count -= 1
        bytes -= size
    }

    /// Which changes there is no room for, what is known before what is new.
    ///
    /// - Parameters:
    ///   - changes: Of resources of every type; only entries are refused.
    ///   - size: Bytes of what is there under a name; nil if nothing is.
    /// - Returns: The names of what is refused.
    func excess(
        of changes: [ResourceChange],
        replacing size: (ResourceKey) -> Int?
    ) -> Set<ResourceKey> {
        var room = self
        var excess: Set<ResourceKey> = []
        let entries = changes.filter { $0.key.type == .entry }
        for case .remove(let key) in entries {
            if let old = size(key) { room.release(old) }
        }
        for isKnown in [true, false] {
            for case .upsert(let key, let payload) in entries where (size(key) != nil) == isKnown {
                let new = key.name.utf8.count + payload.count
                if !room.take(new, replacing: size(key)) { excess.insert(key) }
            }
        }
        return excess
    }
}
