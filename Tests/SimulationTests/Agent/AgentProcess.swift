// SPDX-License-Identifier: Apache-2.0

import AuditLog
import CAServer
import FoundationEssentials
import NodeAgent
import NodeSync
import SPIFFE

/// One process of an agent: the shell of `AgentLogic`, driven by events in place of tasks.
final class AgentProcess {
    let machine: SimulatedAgent
    var logic: AgentLogic
    let key: NodeKey
    var identity: StoredIdentity {
        didSet { if identity.certificateChain != oldValue.certificateChain { readSerial() } }
    }
    /// Counts what happened to the logic, over all processes of the machine.
    private(set) var turn = 0
    /// The serial of the agent's own SVID.
    private(set) var ownSerial: [UInt8] = []
    var verifier: PeerVerifier
    private(set) var channel: Channel?
    private var lane = 0
    private let timer: VirtualTimer
    var subscriberNumber: UInt64 = 0
    var subscribed: [SubscriberID: SimulatedWorkload] = [:]
    /// What each stream has shown last.
    var shown: [SubscriberID: WorkloadView] = [:]
    var attached: AttachedProxy?

    var scheduler: Scheduler { machine.scheduler }
    var now: ClockReading { machine.clock.reading }

    init(_ machine: SimulatedAgent, _ stored: StoredAgent) {
        self.machine = machine
        key = stored.key
        identity = stored.identity
        verifier = PeerVerifier(bundles: [stored.identity.trustDomain: stored.identity.bundle])
        logic = AgentLogic(
            stored,
            name: machine.name,
            // Without `revocationLists` it would forget its lists at each start.
            capabilities: AgentCore.capabilities(takesLists: true),
            now: machine.clock.reading,
            using: &machine.random
        )
        timer = VirtualTimer(machine.scheduler, "\(machine.name) timer")
        readSerial()
    }

    private func readSerial() {
        let leaf = identity.certificateChain.first.flatMap { try? LeafCertificate(der: $0) }
        ownSerial = leaf?.serial ?? []
    }

    var isGone: Bool { machine.process !== self }

    func start() async throws {
        try await perform(logic.started(now: now, using: &machine.random))
    }

    // MARK: - Actions

    func perform(_ actions: [AgentLogic.Action]) async throws {
        machine.turns += 1
        turn = machine.turns
        for action in actions {
            guard !isGone else { throw AgentGone() }
            if machine.random.chance(machine.crashProbability) {
                let machine = machine
                machine.crash()
                scheduler.after(machine.random.duration(1...60), "\(machine.name) is started") {
                    try await machine.start()
                }
                throw AgentGone()
            }
            try await perform(action)
        }
    }

    private func perform(_ action: AgentLogic.Action) async throws {
        switch action {
        case .condition: break
        case .connect: connect()
        case .disconnect: endStream()
        case .followLog(let following):
            if !following.isProved { machine.alarms.append("records lost") }
            identity.auditKey = following.succession.newKey.description
            try machine.write(identity.encoded(), to: .identity)
        case .persistSync: try persistSync()
        case .recordAuditAlarm(let reason, let note):
            machine.alarms.append(reason)
            try machine.write(note, to: .alarm)
        case .rememberCheckpoint(let note): try machine.write(note, to: .checkpoint)
        case .renewOwnSVID(let renewal): try renewOwn(renewal)
        case .report(let report): self.report(report)
        case .scheduleTimer(let deadline):
            timer.set(at: machine.clock.trueTime(ofBoot: deadline)) { [self] in
                guard !isGone else { return }
                do {
                    try await perform(logic.timerFired(now: now, using: &machine.random))
                } catch is AgentGone {}
            }
        case .sendAcknowledgement(let acknowledgement): send(acknowledgement)
        case .sendHello(let hello, _): send(hello)
        case .sign(let batch): try sign(batch)
        case .trust(let bundle):
            verifier = PeerVerifier(bundles: [bundle.trustDomain: bundle])
            identity.bundle = bundle
            try machine.write(identity.encoded(), to: .identity)
        case .wake(let subscribers):
            for subscriber in subscribers {
                if subscriber == attached?.subscriber {
                    try await tellProxy()
                } else {
                    try await show(subscriber)
                }
            }
        }
    }

    private func persistSync() throws {
        guard let persisted = logic.persistedSync else { return }
        machine.persisted = persisted.revision
        if machine.sabotage == .lostDisk, machine.random.chance(0.5) { return }
        try machine.write(persisted.encoded, to: .sync)
    }

    private func report(_ report: AgentLogic.Report) {
        switch report {
        case .auditContradiction(let reason): scheduler.note("\(machine.name) alarms: \(reason)")
        case .sync(let alarm):
            machine.alarms.append("\(alarm)")
            scheduler.note("\(machine.name) alarms: \(alarm)")
        case .clockStepped(let step):
            scheduler.note("\(machine.name) notices a clock step of \(step.inSeconds)")
        case .signingProblem(let key, let reason):
            scheduler.note("\(machine.name) has no new SVID for \(key.spiffeID.path): \(reason)")
        case .clockSkewed, .discarded, .formerLog, .logFollowed, .resourcesRefused: break
        }
    }

    // MARK: - The stream

    private func connect() {
        let caller = Caller(link: machine.link, chain: identity.certificateChain) {
            [self] chain in await machine.judge(chain, verifier)
        }
        machine.network.connect(caller) { [self] channel in
            guard !isGone else { return channel.connection.close(from: .agent) }
            self.channel = channel
            lane = channel.connection.newStream()
            channel.connection.onClose(.agent) { [self] in try await streamEnded(channel) }
            try await guarded { [self] in
                try await perform(logic.connected(now: now, using: &machine.random))
            }
        } failed: { [self] failure in
            scheduler.note("\(machine.name) cannot connect: \(failure.text)")
            // In worlds without orders, as in those of before, an agent waits for its own end.
            var isTurnedAway = false
            if case .certificateRefused = failure, machine.network.server.trials.orders {
                isTurnedAway = true
            }
            try await guarded { [self] in
                try await perform(
                    logic.disconnected(
                        isTurnedAway: isTurnedAway,
                        now: now,
                        using: &machine.random
                    )
                )
            }
        }
    }

    /// Runs something unless the process is gone.
    func guarded(_ action: () async throws -> Void) async throws {
        guard !isGone else { return }
        do { try await action() } catch is AgentGone {}
    }

    private func streamEnded(_ ended: Channel) async throws {
        guard channel?.connection === ended.connection else { return }
        channel = nil
        try await guarded { [self] in
            try await perform(logic.disconnected(now: now, using: &machine.random))
        }
    }

    private func endStream() {
        let ending = channel
        channel?.connection.close(from: .agent)
        machine.after(.zero, "\(machine.name) ends its stream") { [self] in
            guard channel?.connection === ending?.connection else { return }
            channel = nil
            try await perform(logic.disconnected(now: now, using: &machine.random))
        }
    }

    private func send(_ hello: SyncHello) {
        guard let channel else { return }
        let (lane, network) = (lane, machine.network)
        channel.connection.send(
            to: .server,
            on: lane,
            "says hello, has \(hello.have.map { "\($0.number)" } ?? "none")"
        ) { [self] in
            try network.server.hello(hello, on: channel, lane: lane) {
                [self] time, attested in
                try await whileOpen(channel) { [self] in
                    try await perform(
                        logic.welcomed(
                            trustDomain: ServerProcess.trustDomainName,
                            serverTime: time,
                            nodeSelectors: attested,
                            now: now,
                            using: &machine.random
                        )
                    )
                }
            } deliver: { [self] message in
                try await whileOpen(channel) { [self] in
                    try await perform(
                        logic.received(message, now: now, using: &machine.random)
                    )
                }
            }
        }
    }

    /// Runs what belongs to a connection, unless that has ended or the process is gone.
    func whileOpen(
        _ channel: Channel,
        _ action: () async throws -> Void
    ) async throws {
        guard self.channel?.connection === channel.connection else { return }
        try await guarded(action)
    }

    private func send(_ acknowledgement: SyncAcknowledgement) {
        guard let channel else { return }
        let network = machine.network
        channel.connection.send(
            to: .server,
            on: lane,
            "acknowledges \(acknowledgement.applied.number)"
        ) {
            network.server.acknowledged(on: channel.connection, acknowledgement)
        }
    }
}
