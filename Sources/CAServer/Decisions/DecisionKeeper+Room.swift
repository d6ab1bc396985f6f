// SPDX-License-Identifier: Apache-2.0

internal import Clocks
internal import Datastore
internal import DecisionLog
internal import DurableFiles
internal import FoundationEssentials
internal import Synchronization
internal import Telemetry

/// How much the decision store takes.
extension DecisionKeeper {
    /// The word of a refusal for want of room.
    static let noRoom = "decisionRoom"

    /// Why the file must not grow; nil if it may.
    ///
    /// One look at the file system, without waiting for a disk.
    func shortage() -> String? {
        do throws(FileError) {
            return DecisionRoom.shortage(try DurableFile.room(at: path))
        } catch {
            return error.description
        }
    }

    /// Uploads are refused until there is room again.
    func short(of problem: String) {
        state.withLock { $0.isShortOfRoom = true }
        told(of: problem)
    }

    /// Tells of missing room before an upload meets it, and of its end.
    private func look(at status: DecisionStoreStatus) {
        if let problem = shortage(),
            status.spareBytes < 2 * DecisionSegment.bytesMax + DecisionStore.spareBytesMin
        {
            short(of: problem)
        } else if state.withLock({ $0.isShortOfRoom }) {
            works()
        }
    }

    /// Removes what is too old or too much; nothing for its age while the clock is doubted.
    func trim(_ core: ServerCore) async {
        guard let store else { return }
        let isBelieved = await core.isClockBelieved()
        let limit = clock.wallTime.addingTimeInterval(-(retention / .seconds(1)))
        do throws(DatastoreError) {
            while try await store.trim(
                storedBefore: isBelieved ? limit : nil,
                bytesMax: quotaBytes
            ) {
                guard !Task.isCancelled else { return }
            }
            let status = try await store.status()
            metrics.set(.decisionStoreBytes, to: Double(status.bytes))
            metrics.set(
                .decisionStoreOldest,
                to: status.oldest?.timeIntervalSince1970 ?? 0
            )
            look(at: status)
        } catch {
            failed(error, store)
        }
    }
}
