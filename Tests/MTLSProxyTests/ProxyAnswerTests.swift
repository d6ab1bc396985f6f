// SPDX-License-Identifier: Apache-2.0

import Foundation
import HTTPSemantics
import MTLSProxy
import Reactor
import Routing
import SPIFFE
import Testing

/// Answers of every form, through both proxies, and what follows them on the same connection.
@Suite(.timeLimit(.minutes(2)), .serialized) struct ProxyAnswerTests {
    /// What the application says, and what of it reaches a client on a connection that stays.
    struct Form: Sendable, CustomTestStringConvertible {
        var name: String
        var method = "GET"
        var answer: String
        var status: Int
        var body = ""
        var testDescription: String { name }
    }

    static let forms = [
        Form(
            name: "HEAD",
            method: "HEAD",
            answer: "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n",
            status: 200
        ),
        Form(name: "204", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204),
        Form(
            name: "304",
            answer: "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
            status: 304
        ),
        Form(
            name: "no content",
            answer: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            status: 200
        ),
        Form(
            name: "no content, in chunks",
            answer: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            status: 200,
            body: "0\r\n\r\n"
        ),
        Form(
            name: "chunks",
            answer: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
                + "5\r\nhello\r\n0\r\n\r\n",
            status: 200,
            body: "5\r\nhello\r\n0\r\n\r\n"
        ),
        Form(
            name: "a word before it",
            answer: "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
                + "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            status: 200,
            body: "hello"
        ),
        Form(
            name: "a word before no content",
            answer: "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            status: 204
        ),
    ]

    private func world(_ provider: TLSProvider, _ kind: Application.Kind) async throws -> World {
        let application = try Application(kind)
        let world = try World(provider, .http, application: application.address)
        try await world.applyServer([World.allow()])
        try await world.applyClient()
        return world
    }

    /// Reads one head; a word before the answer is an answer here.
    private func readHead(_ wire: Wire) -> (status: Int, head: String) {
        var head = ""
        while !head.hasSuffix("\r\n\r\n") {
            let byte = wire.read(1)
            if byte.isEmpty { return (0, head) }
            head += String(decoding: byte, as: UTF8.self)
        }
        let words = head.split(separator: " ")
        return (words.count > 1 ? Int(words[1]) ?? 0 : 0, head.lowercased())
    }

    @Test(arguments: TLSProvider.allCases, forms)
    func `an answer is passed on whole, and the next request is answered`(
        _ provider: TLSProvider,
        _ form: Form
    ) async throws {
        let world = try await world(provider, .fixed(form.answer))
        let wire = try Wire.connect(world.outboundAddress)
        for _ in 0..<3 {
            wire.send("\(form.method) / HTTP/1.1\r\nhost: backend\r\n\r\n")
            var (status, head) = readHead(wire)
            if form.answer.hasPrefix("HTTP/1.1 103") {
                #expect(status == 103, "\(head)")
                (status, head) = readHead(wire)
            }
            try #require(status == form.status, "\(head)")
            let body = String(decoding: wire.read(form.body.utf8.count), as: UTF8.self)
            #expect(body == form.body)
        }
        let sum = await world.server.sum()
        #expect(sum.requests == 3)
        // One connection for all, also to the application.
        #expect(sum.accepted == 1)
        #expect(sum.connected == 1)
        #expect(sum.reasons.isEmpty, "\(sum.reasons)")
    }

    @Test(arguments: TLSProvider.allCases, forms)
    func `the end of a connection that an answer announces comes after it`(
        _ provider: TLSProvider,
        _ form: Form
    ) async throws {
        let last = form.answer.replacing("OK\r\n", with: "OK\r\nconnection: close\r\n")
            .replacing("Content\r\n", with: "Content\r\nconnection: close\r\n")
            .replacing("Modified\r\n", with: "Modified\r\nconnection: close\r\n")
        let world = try await world(provider, .fixed(last))
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("\(form.method) / HTTP/1.1\r\nhost: backend\r\n\r\n")
        if form.answer.hasPrefix("HTTP/1.1 103") { #expect(readHead(wire).status == 103) }
        #expect(readHead(wire).status == form.status)
        let body = String(decoding: wire.read(form.body.utf8.count), as: UTF8.self)
        #expect(body == form.body)
        #expect(wire.failure == nil)
        // It was the application's connection that ended; the client's is good for another.
        wire.send("\(form.method) / HTTP/1.1\r\nhost: backend\r\n\r\n")
        if form.answer.hasPrefix("HTTP/1.1 103") { #expect(readHead(wire).status == 103) }
        #expect(readHead(wire).status == form.status)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a client of HTTP 1.0 gets content without chunks`(_ provider: TLSProvider) async throws {
        let answer =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        let world = try await world(provider, .fixed(answer))
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("GET / HTTP/1.0\r\nhost: backend\r\n\r\n")
        #expect(readHead(wire).status == 200)
        #expect(String(decoding: wire.readToEnd(), as: UTF8.self) == "hello")
        #expect(wire.failure == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request that cannot be read is not answered like the one before it`(
        _ provider: TLSProvider
    ) async throws {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"
        let world = try await world(provider, .fixed(head))
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("HEAD /before HTTP/1.1\r\nhost: backend\r\n\r\n")
        #expect(readHead(wire).status == 200)
        wire.send(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 400)
        #expect(answer.body.contains("rule "), "an answer to HEAD has no content")
        // Records are handed over at the end of the turn that has answered.
        _ = await world.client.sum()
        let record = try #require(
            world.client.takeRecords().records.first { $0.reason == .requestRefused }
        )
        #expect(record.method == .other)
        #expect(record.path == "")
        #expect(record.bytesIn == 0)
        #expect(record.bytesOut == UInt64(answer.head.utf8.count + answer.body.utf8.count))
    }

    @Test(arguments: TLSProvider.allCases)
    func `a request that does not come in time is told of, and not as the one before it`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, .mirror)
        var limits = ProxyLimits()
        limits.head = 200
        try await world.applyClient(limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("GET /before HTTP/1.1\r\nhost: backend\r\n\r\n")
        #expect(wire.readAnswer()?.status == 200)
        wire.send("GET / HT")
        #expect(wire.readAnswer()?.status == 408)
        #expect(wire.readToEnd().isEmpty)
        _ = await world.client.sum()
        let record = try #require(
            world.client.takeRecords().records.first { $0.reason == .timedOut }
        )
        #expect(record.status == 408)
        #expect(record.path == "")
        #expect(record.bytesIn == 0)
        let sum = await world.client.sum()
        #expect(Set(sum.aggregates.keys.map(\.status)) == [200, 408])
    }

    @Test(arguments: TLSProvider.allCases)
    func `every byte is counted, of bodies that come at once and of answers made here`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, .mirror)
        let wire = try Wire.connect(world.outboundAddress)
        let body = String(repeating: "0123456789abcdef", count: 64 * 1024)
        let head =
            "POST / HTTP/1.1\r\nhost: backend\r\ncontent-length: \(body.utf8.count)\r\n\r\n"
        wire.send(head + body)
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 200)
        let sum = await world.client.sum()
        #expect(sum.bytesIn == UInt64(head.utf8.count + body.utf8.count))
        #expect(sum.bytesOut == UInt64(answer.head.utf8.count + answer.body.utf8.count))
        #expect(await world.server.sum().bytesIn > UInt64(body.utf8.count))
        // An answer of the proxy itself.
        try await world.applyServer([])
        let before = await world.server.sum().bytesOut
        wire.send("GET / HTTP/1.1\r\nhost: backend\r\n\r\n")
        let denied = try #require(wire.readAnswer())
        #expect(denied.status == 403)
        #expect(await world.server.sum().bytesOut >= before + UInt64(denied.body.utf8.count))
    }

    @Test(arguments: TLSProvider.allCases)
    func `an upload that had to wait may take longer than a stall afterwards`(
        _ provider: TLSProvider
    ) async throws {
        // Longer than the limit of a stall, and than it takes to notice.
        let application = try Application(.slow(3_000))
        let world = try World(provider, .http, application: application.address)
        var limits = ProxyLimits()
        limits.stall = 1_000
        try await world.applyServer([World.allow()], limits: limits)
        try await world.applyClient(limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        // More than all sockets on the way hold, so that each side waits for the next; made before
        // it is begun, because that takes time as well.
        let body = [UInt8](repeating: UInt8(ascii: "b"), count: 24 << 20)
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(body.count)\r\n\r\n"
        wire.send(Array(head.utf8) + body)
        let answer = try #require(wire.readAnswer())
        #expect(answer.status == 200)
        #expect(answer.body.contains("content-length: \(body.count)"))
    }

    @Test(arguments: TLSProvider.allCases)
    func `an answer that begins before the request ends is not cut off`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(
            .early("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel")
        )
        let world = try World(provider, .http, application: application.address)
        var limits = ProxyLimits()
        limits.answer = 100
        try await world.applyServer([World.allow()], limits: limits)
        try await world.applyClient(limits: limits)
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx")
        #expect(readHead(wire).status == 200)
        #expect(String(decoding: wire.read(3), as: UTF8.self) == "hel")
        wire.send("y")
        // The rest never comes; what ends it is the stall's limit, not the answer's.
        let until = Date() + 2
        while Date() < until { await Task.yield() }
        #expect(await world.server.sum().reasons[.timedOut] == nil)
    }

    @Test(arguments: TLSProvider.allCases)
    func `a proxy of several workers ends although somebody asks it meanwhile`(
        _ provider: TLSProvider
    ) async throws {
        let application = try Application(.silent)
        let world = try World(
            provider,
            .http,
            application: application.address,
            workers: 2
        )
        var limits = ProxyLimits()
        limits.drain = 1_500
        try await world.applyServer([World.allow()], limits: limits)
        try await world.applyClient()
        // One worker has something to finish, the other ends at once.
        let wire = try Wire.connect(world.outboundAddress)
        wire.send("GET / HTTP/1.1\r\nhost: backend\r\n\r\n")
        while await world.server.sum().requests == 0 { await Task.yield() }
        let server = world.server
        async let drained: Void = server.drained()
        for _ in 0..<50 {
            #expect(await server.sum().requests == 1)
            _ = await server.list()
        }
        await drained
        // Nor does who says something to it afterwards hear an error, or wait.
        try await world.applyServer([World.allow()])
        #expect(await server.sum().requests == 1)
        #expect(await server.list().isEmpty)
    }

    @Test(arguments: TLSProvider.allCases)
    func `aggregates that are handed over are not counted again`(
        _ provider: TLSProvider
    ) async throws {
        let world = try await world(provider, .mirror)
        let wire = try Wire.connect(world.outboundAddress)
        func handedOver() async -> [RequestAggregate: RequestSum] {
            await withCheckedContinuation { done in
                world.server.counters(handsOver: true) { done.resume(returning: $0.aggregates) }
            }
        }
        for _ in 0..<3 {
            wire.send("GET / HTTP/1.1\r\nhost: backend\r\n\r\n")
            #expect(wire.readAnswer()?.status == 200)
        }
        let first = await handedOver()
        #expect(first.count == 1)
        let sum = try #require(first.values.first)
        #expect(sum.count == 3)
        #expect(sum.bytesIn > 0 && sum.bytesOut > 0)
        #expect(sum.durations.indices.reduce(0) { $0 + sum.durations[$1] } == 3)
        #expect(await handedOver().isEmpty)
    }
}
