// SPDX-License-Identifier: Apache-2.0

import Clocks
import ControlAPIProtos
import DecisionLog
import Foundation
import Logging
import NodeAgent
import SwiftProtobuf
import Telemetry
import Testing

/// Segments in a real directory.
@Suite(.timeLimit(.minutes(1))) struct DecisionSpoolTests {
    /// A directory that is gone afterwards.
    private final class Place {
        let path = "/tmp/signet-spool-\(UInt32.random(in: 0 ... .max))"
        let metrics = MetricRegistry(of: .agent)

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func spool(_ ledger: SpoolLedger = SpoolLedger()) -> DecisionSpool {
            DecisionSpool(
                directory: "\(path)/decisions",
                clock: SystemClock(),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                metrics: metrics,
                ledger: ledger
            )
        }

        var files: [String] {
            ((try? FileManager.default.contentsOfDirectory(atPath: "\(path)/decisions")) ?? [])
                .sorted()
        }

        func lost(_ reason: String) -> Bool {
            metrics.exposition().contains("decision_records_lost_total{reason=\"\(reason)\"}")
        }
    }

    private func offer(_ range: Range<Int>, to spool: DecisionSpool) {
        spool.offer(DecisionSamples.judged(DecisionSamples.denials(range)))
    }

    private func segment(_ found: (name: SegmentName, bytes: [UInt8])?) throws -> DecisionSegment {
        try DecisionSegment(parsing: #require(found).bytes)
    }

    @Test func `what was gathered becomes a segment that only its owner may read`() async throws {
        let place = Place()
        let spool = place.spool()
        offer(0..<3, to: spool)
        #expect(spool.gatheredBytes > 0)
        await spool.write()
        #expect(spool.gatheredBytes == 0)
        let found = await spool.oldest()
        let segment = try segment(found)
        #expect(segment.header.number == 1)
        #expect(segment.records.map(\.decision) == DecisionSamples.denials(0..<3).denials)
        let file = try #require(place.files.first)
        #expect(file == found?.name.description)
        let mode = try FileManager.default.attributesOfItem(
            atPath: "\(place.path)/decisions/\(file)"
        )[.posixPermissions]
        #expect(mode as? Int == 0o600)
        let folder = try FileManager.default.attributesOfItem(
            atPath: "\(place.path)/decisions"
        )[.posixPermissions]
        #expect(folder as? Int == 0o700)
        // Nothing to say, no segment.
        await spool.write()
        #expect(place.files.count == 1)
    }

    @Test func `after a restart older segments come first, and numbers begin again`() async throws {
        let place = Place()
        let before = place.spool()
        offer(0..<1, to: before)
        await before.write()
        offer(1..<2, to: before)
        await before.write()
        let after = place.spool()
        let clock = SystemClock()
        try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(2))
        offer(2..<3, to: after)
        await after.write()
        var spools: [[UInt8]] = []
        var numbers: [UInt64] = []
        while let next = await after.oldest() {
            let segment = try segment(next)
            spools.append(segment.header.spool)
            numbers.append(segment.header.number)
            await after.stored(next.name)
        }
        #expect(numbers == [1, 2, 1])
        #expect(spools[0] == spools[1] && spools[1] != spools[2])
        #expect(place.files.isEmpty)
    }

    @Test func `an agent that has nothing to write makes no directory`() async throws {
        let place = Place()
        let spool = place.spool()
        await spool.start()
        await spool.write()
        #expect(await spool.oldest() == nil)
        #expect(!FileManager.default.fileExists(atPath: place.path))
    }

    @Test func `a torn segment is dropped at the start and counted, never believed`() async throws {
        let place = Place()
        let before = place.spool()
        for number in 0..<3 {
            offer(number..<number + 1, to: before)
            await before.write()
        }
        let files = place.files
        let torn = "\(place.path)/decisions/\(files[0])"
        var bytes = try #require(FileManager.default.contents(atPath: torn))
        bytes.removeLast()
        try bytes.write(to: URL(filePath: torn))
        // One under the name of another.
        try FileManager.default.removeItem(atPath: "\(place.path)/decisions/\(files[1])")
        try FileManager.default.copyItem(
            atPath: "\(place.path)/decisions/\(files[2])",
            toPath: "\(place.path)/decisions/\(files[1])"
        )
        let clock = SystemClock()
        try await clock.sleep(untilBoot: clock.bootTime + .milliseconds(2))
        let after = place.spool()
        await after.start()
        await after.write()
        #expect(place.lost("torn"))
        let found = await after.oldest()
        #expect(found?.name.description == files[2])
        await after.stored(try #require(found).name)
        // Two segments were lost, which the next one tells.
        let loss = try segment(await after.oldest())
        #expect(loss.header.lost == 2)
        #expect(loss.records.isEmpty)
    }

    @Test func `when there are too many bytes the oldest goes, and the next one tells how many`()
        async throws
    {
        let place = Place()
        let probe = place.spool()
        offer(0..<10, to: probe)
        await probe.write()
        let size = try #require(await probe.oldest()).bytes.count
        let spool = place.spool(SpoolLedger(bytesMax: 2 * size + 10))
        for number in 1..<4 {
            offer(number * 10..<number * 10 + 10, to: spool)
            await spool.write()
        }
        #expect(spool.segmentCount == 2)
        #expect(place.files.count == 2)
        #expect(place.lost("spool"))
        let oldest = try segment(await spool.oldest())
        #expect(oldest.header.number == 2)
        #expect(oldest.header.lost == 10)
    }

    @Test func `a disk that refuses drops and counts, and the next segment tells`() async throws {
        let place = Place()
        // A file where the directory is to be.
        try FileManager.default.createDirectory(
            atPath: place.path,
            withIntermediateDirectories: true
        )
        #expect(
            FileManager.default.createFile(atPath: "\(place.path)/decisions", contents: nil)
        )
        let spool = place.spool()
        offer(0..<4, to: spool)
        await spool.write()
        #expect(spool.gatheredBytes == 0)
        #expect(place.lost("disk"))
        try FileManager.default.removeItem(atPath: "\(place.path)/decisions")
        offer(4..<5, to: spool)
        await spool.write()
        let segment = try segment(await spool.oldest())
        #expect(segment.header.lost == 4)
        #expect(segment.records.count == 1)
    }

    @Test func `a flood leaves the queue bounded, and waits for nothing`() async throws {
        let place = Place()
        let spool = place.spool()
        // Nobody writes; what has no room is counted.
        for turn in 0..<40 { offer(turn * 1_000..<turn * 1_000 + 1_000, to: spool) }
        #expect(spool.gatheredBytes <= DecisionQueue.bytesMax)
        #expect(place.lost("queue"))
        await spool.write()
        #expect(spool.gatheredBytes == 0)
        var records = 0
        var lost: UInt64 = 0
        while let next = await spool.oldest() {
            #expect(next.bytes.count <= DecisionSegment.bytesMax)
            let segment = try segment(next)
            records += segment.records.count
            lost += segment.header.lost
            await spool.stored(next.name)
        }
        #expect(records <= DecisionQueue.recordsMax)
        #expect(records + Int(lost) == 40_000)
    }

    @Test func `a directory that is taken away is made again, and what it had is lost`()
        async throws
    {
        let place = Place()
        let spool = place.spool()
        offer(0..<2, to: spool)
        await spool.write()
        try FileManager.default.removeItem(atPath: "\(place.path)/decisions")
        offer(2..<5, to: spool)
        await spool.write()
        #expect(spool.segmentCount == 1)
        let next = try #require(await spool.oldest())
        let second = try segment(next)
        #expect(second.records.count == 3)
        // The attempt that failed has used its number.
        #expect(second.header.number == 3)
        await spool.stored(next.name)
        await spool.write()
        #expect(try segment(await spool.oldest()).header.lost == 2)
    }

    @Test func `a segment that is spoiled while the agent runs counts with all its records`()
        async throws
    {
        let place = Place()
        let spool = place.spool()
        offer(0..<5, to: spool)
        await spool.write()
        let file = try #require(place.files.first)
        try Data([1]).write(to: URL(filePath: "\(place.path)/decisions/\(file)"))
        #expect(await spool.oldest() == nil)
        await spool.write()
        #expect(try segment(await spool.oldest()).header.lost == 5)
    }

    @Test func `a segment that cannot be removed is not sent again`() async throws {
        let place = Place()
        let spool = place.spool()
        offer(0..<1, to: spool)
        await spool.write()
        let sent = try #require(await spool.oldest())
        // No file any more, and so nothing that unlink(2) removes.
        let path = "\(place.path)/decisions/\(sent.name)"
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: false
        )
        await spool.stored(sent.name)
        #expect(spool.segmentCount == 0)
        #expect(await spool.oldest() == nil)
        #expect(place.files.count == 1)
        // When it can be removed, it is.
        try FileManager.default.removeItem(atPath: path)
        #expect(FileManager.default.createFile(atPath: path, contents: nil))
        await spool.write()
        #expect(place.files.isEmpty)
    }

    @Test func `a flood of denials takes no count's place`() {
        let place = Place()
        let spool = place.spool()
        for turn in 0..<20 { offer(turn * 1_000..<turn * 1_000 + 1_000, to: spool) }
        #expect(place.lost("queue"))
        var counts = Signet_Proxy_V1alpha1_TrafficRecords()
        counts.counts = [DecisionSamples.count()]
        let before = spool.gatheredBytes
        spool.offer(DecisionSamples.judged(counts))
        #expect(spool.gatheredBytes > before)
    }

    @Test func `what the server never takes is removed and counted`() async throws {
        let place = Place()
        let spool = place.spool()
        offer(0..<2, to: spool)
        await spool.write()
        await spool.refused(try #require(await spool.oldest()).name)
        #expect(place.files.isEmpty)
        #expect(place.lost("server"))
        await spool.write()
        #expect(try segment(await spool.oldest()).header.lost == 2)
    }
}
